"""onnxruntime, under exactly one of its providers: the CPU's, OpenVINO's, CUDA's, TensorRT's or TensorRT-RTX's.

Nothing falls back to another one. How each is set up and asserted stands in `providers.py`.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from . import cores, providers
from .binding import Bound
from .cores import physical_cores
from .error_lines import first_line
from .errors import TargetError
from .names import CPU, on_gpu
from .onnx_file import MOST_BYTES, require_onnx
from .outside import read_bytes
from .providers import PROVIDERS, Settings
from .session import INPUT, OUTPUTS, Outputs, check_answers, check_images, keep_busy, run_in_batches

MOST_SIDE, MOST_BATCH = 4096, 1024  # that a graph may ask for

# Words of onnxruntime for a graph that it cannot record, as not every node of it runs on the GPU
# (core/session/inference_session.cc; the second are those of earlier versions).
_NO_RECORDING = ("use the graph capture feature", "use the cuda graph feature")


class Graph:
    """Any graph in onnxruntime, under exactly one provider.

    threads: of a session on the processor; 0 means the physical cores this process may use, at most 8. On a machine
    with slow cores too they stay on the fast ones (cores.py), and so does the caller's thread while it is in `run`.
    settings: the rest of how it runs. Under another provider than the CPU's, the first run is watched: which provider
    each node ran under is read from onnxruntime's own profile of it.
    Raises TargetError when the runtime, the provider or the file is not usable.
    """

    def __init__(
        self, model_path: str | Path, *, threads: int = 0, provider: str = CPU, settings: Settings | None = None
    ) -> None:
        execution = providers.check_provider(provider)
        ort, errors = providers.load_onnxruntime()
        settings = settings or Settings()
        self.threads = threads or physical_cores()
        missing = providers.preload_libraries(ort) if on_gpu(provider) else ""
        options = providers.options(ort, settings, self.threads)
        self.cores = cores.placement(self.threads) if provider == CPU else None
        if self.cores and self.threads > 1:  # for its own threads; processors are counted from 1
            one = ",".join(str(core + 1) for core in self.cores)
            options.add_session_config_entry("session.intra_op_thread_affinities", ";".join([one] * (self.threads - 1)))
        self._nodes: dict[str, Counter[str]] = {}
        self._watching: tempfile.TemporaryDirectory[str] | None = None
        if provider != CPU:
            self._watching = tempfile.TemporaryDirectory()
            options.enable_profiling = True
            options.profile_file_prefix = str(Path(self._watching.name) / "run")
        wanted = providers.requested(provider, settings, self.threads)
        require_onnx(model_path)
        try:
            # Without enable_fallback=0 a provider that fails is told on stdout, and the CPU's started instead.
            session = ort.InferenceSession(model_source(model_path), options, providers=wanted, enable_fallback=0)
        except errors as error:
            wrong = f"onnxruntime {ort.__version__} cannot load {model_path} under {execution}: {first_line(error)}"
            raise TargetError(wrong, _remedy(provider, wrong)) from error
        session.disable_fallback()
        active = session.get_providers()[0]
        if active != execution:
            raise TargetError(
                f"asked for {execution}, but onnxruntime started {active}" + (f" ({missing})" if missing else ""),
                "Its libraries do not load: check `nvidia-smi` and the CUDA and cuDNN versions it was built for.",
            )
        self.session, self.errors = session, errors
        self._name, self._version, self._provider = provider, ort.__version__, execution

    @property
    def inputs(self) -> dict[str, Any]:
        """onnxruntime's description of each input by its name: `type` such as "tensor(uint8)", and `shape`, whose free
        axes are strings or None."""
        return {value.name: value for value in self.session.get_inputs()}

    @property
    def outputs(self) -> dict[str, Any]:
        """The same of each output."""
        return {value.name: value for value in self.session.get_outputs()}

    def run(self, feed: dict[str, np.ndarray], outputs: Sequence[str] | None = None) -> list[np.ndarray]:
        """The arrays of these outputs, by default of all of them. TargetError with onnxruntime's own words, and where
        the first run shows that another provider computes."""
        try:
            with cores.staying_on(self.cores):
                found = self.session.run(outputs, feed)
        except self.errors as error:
            raise self.failed(error) from error
        self.observe()
        return found

    def failed(self, error: Exception) -> TargetError:
        """What onnxruntime raised in a run, in two lines."""
        return TargetError(
            f"onnxruntime failed: {first_line(error)}",
            "Check free memory; `python run.py doctor` says what this machine has.",
        )

    def describe(self) -> dict[str, Any]:
        """name, version, provider, threads (None on a GPU), and the cores they stay on, where these are not all: what a
        result has to say about the runtime.

        Under another provider than the CPU's also `nodes`: how many ran under which in the first run, once there was
        one; on a GPU `tf32`.
        """
        found: dict[str, Any] = {"name": self._name, "version": self._version, "provider": self._provider}
        found["threads"] = None if on_gpu(self._name) else self.threads
        if self.cores:
            found["cores"] = self.cores
        if self._nodes:
            found["nodes"] = {provider: sum(names.values()) for provider, names in self._nodes.items()}
        if (tf32 := providers.tf32(self._name)) is not None:
            found["tf32"] = tf32
        return found

    def close(self) -> None:
        """Free the model. May be called twice."""
        self.session = None
        if self._watching is not None:
            self._watching.cleanup()

    def observe(self) -> None:
        """After a run: the first one's profile is read. Raises TargetError where a layer ran under another provider."""
        watching, self._watching = self._watching, None
        if watching is None:
            return
        with watching:
            self._nodes = providers.nodes_of(Path(self.session.end_profiling()))
        providers.check_nodes(self._name, self._nodes)


def model_source(path: str | Path) -> str | bytes:
    """What onnxruntime is given to open `path`: its bytes where the name is not UTF-8, which it does not take."""
    try:
        os.fsencode(path).decode("utf-8")
    except UnicodeDecodeError:
        return read_bytes(path, MOST_BYTES)
    return str(path)


class Session:
    """One of our models in onnxruntime (see session.py for the four methods); threads, settings, errors are Graph's.

    Opening it runs it once, which proves the provider. size: pixels a side.
    """

    def __init__(
        self, model_path: str | Path, *, threads: int = 0, provider: str = CPU, settings: Settings | None = None
    ) -> None:
        self._graph = Graph(model_path, threads=threads, provider=provider, settings=settings)
        self.size, self._batch, self._empty = _check_graph(self._graph, model_path)
        bound = settings is not None and settings.io_binding and self._batch is not None
        self._bound = self._bind(self._batch or 1, provider) if bound else None
        if provider != CPU:
            self._call(np.zeros((self._batch or 1, self.size, self.size, 3), np.uint8))

    def run(self, images: np.ndarray) -> Outputs:
        """uint8 [N,S,S,3] RGB -> Outputs. A graph with a fixed batch of 1 is called once an image."""
        check_images(images, self.size)
        return run_in_batches(images, self._batch, self._call) if len(images) else self._empty

    def warm_up(self, seconds: float) -> None:
        """Run on black images for `seconds`, at least three times."""
        keep_busy(self.size, self._batch, self._call, seconds)

    def describe(self) -> dict[str, Any]:
        """Graph's, and whether inputs and outputs are bound."""
        return self._graph.describe() | {"io_binding": self._bound is not None}

    def close(self) -> None:
        """Free the model."""
        self._bound = None
        self._graph.close()

    def _bind(self, batch: int, provider: str) -> Bound:
        ort, _ = providers.load_onnxruntime()
        shapes = {name: (batch, *value.shape[1:]) for name, value in self._graph.outputs.items() if name in OUTPUTS}
        shapes[INPUT] = (batch, self.size, self.size, 3)
        try:
            return Bound(ort, self._graph.session, shapes, "cuda" if on_gpu(provider) else "cpu")
        except self._graph.errors as error:
            raise TargetError(
                f"onnxruntime cannot bind inputs and outputs under {PROVIDERS[provider]}: {first_line(error)}",
                "Set io_binding = false in the profile's [onnxruntime].",
            ) from error

    def _call(self, images: np.ndarray) -> Outputs:
        if self._bound is None:
            answers = Outputs(*self._graph.run({INPUT: images}, OUTPUTS))
            # onnxruntime only warns where a graph gives other shapes than it declares
            check_answers(answers, len(images), self._empty.probabilities.shape[1], self._empty.embedding.shape[1])
            return answers
        try:
            with cores.staying_on(self._graph.cores):
                found = self._bound.run(images)
        except self._graph.errors as error:
            raise self._graph.failed(error) from error
        self._graph.observe()
        return found


def _check_graph(graph: Graph, path: str | Path) -> tuple[int, int | None, Outputs]:
    """Input side, fixed batch (None: dynamic), and the outputs of no image. TargetError for another contract."""
    inputs, outputs = graph.inputs, graph.outputs
    image = inputs.get(INPUT)
    shape = image.shape if image is not None else []
    if len(inputs) != 1 or image is None or image.type != "tensor(uint8)" or len(shape) != 4 or shape[3] != 3:
        found = ", ".join(f"{name} {value.type} {value.shape}" for name, value in inputs.items())
        raise TargetError(f"{path} takes {found}, not image uint8 [N,S,S,3]", "Use a model that edgedistill exported.")
    if not isinstance(shape[1], int) or shape[1] != shape[2]:
        raise TargetError(f"{path} has no fixed square input: {shape}", "Use a model that edgedistill exported.")
    if any(name not in outputs or outputs[name].type != "tensor(float)" for name in OUTPUTS):
        raise TargetError(
            f"{path} returns {', '.join(outputs)}, not float32 {', '.join(OUTPUTS)}",
            "Use a model that edgedistill exported.",
        )
    batch = shape[0] if isinstance(shape[0], int) else None
    if not 0 < shape[1] <= MOST_SIDE or not 0 < (batch or 1) <= MOST_BATCH:
        raise TargetError(
            f"{path} takes {shape}, at most {MOST_BATCH} images of {MOST_SIDE} pixels a side are given at once",
            "Use a model that edgedistill exported.",
        )
    widths = {name: outputs[name].shape[1:] for name in OUTPUTS}
    ranks = [len(outputs[name].shape) for name in OUTPUTS]
    if ranks != [2, 2, 1] or not all(isinstance(one, int) and one > 0 for width in widths.values() for one in width):
        found = ", ".join(f"{name} {outputs[name].shape}" for name in OUTPUTS)
        raise TargetError(f"{path} returns {found}, not [N,C], [N,D] and [N]", "Use a model that edgedistill exported.")
    return shape[1], batch, Outputs(*(np.zeros((0, *width), np.float32) for width in widths.values()))


def _remedy(provider: str, wrong: str) -> str:
    """What to do about a session that was not made."""
    if any(words in wrong.lower() for words in _NO_RECORDING):
        return "Set cuda_graph = false in the profile's [runtime]: this graph cannot be recorded whole."
    if provider == CPU:
        return "Check that the file is whole, or update onnxruntime."
    return f"Check that the file is whole, and the provider's libraries: {providers.WHERE[provider]}."
