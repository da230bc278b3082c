"""onnxruntime, on the CPU or on an NVIDIA GPU; a GPU session never runs on the CPU instead."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .errors import TargetError
from .machine import physical_cores
from .names import CPU, CUDA
from .session import INPUT, OUTPUTS, Outputs, check_images, keep_busy, run_in_batches

PROVIDERS = {CPU: "CPUExecutionProvider", CUDA: "CUDAExecutionProvider"}


class Graph:
    """Any graph in onnxruntime, under exactly one provider.

    threads: of a CPU session; 0 means the physical cores this process may use, at most 8. Idle threads spin, which is
    onnxruntime's default and its fastest setting for one query after the other.
    Raises TargetError when the runtime, the provider or the file is not usable.
    """

    def __init__(self, model_path: str | Path, *, threads: int = 0, provider: str = CPU) -> None:
        execution = check_provider(provider)
        ort, errors = _onnxruntime()
        options = ort.SessionOptions()
        options.log_severity_level = 3  # errors only: warnings about graph details are for whoever exported it
        options.intra_op_num_threads = self.threads = threads or physical_cores()
        options.inter_op_num_threads = 1
        try:
            self._session = ort.InferenceSession(str(model_path), options, providers=[execution])
        except errors as error:
            raise TargetError(
                f"onnxruntime {ort.__version__} cannot load {model_path}: {_first_line(error)}",
                "Check that the file is whole, or update onnxruntime.",
            ) from error
        self._session.disable_fallback()
        active = self._session.get_providers()[0]
        if active != execution:
            raise TargetError(
                f"asked for {execution}, but onnxruntime started {active}",
                "Its CUDA libraries do not load: check `nvidia-smi` and the CUDA and cuDNN versions it was built for.",
            )
        self._errors = errors
        self._name, self._version, self._provider = provider, ort.__version__, execution

    @property
    def inputs(self) -> dict[str, Any]:
        """onnxruntime's description of each input by its name: `type` such as "tensor(uint8)", and `shape`, whose free
        axes are strings or None."""
        return {value.name: value for value in self._session.get_inputs()}

    @property
    def outputs(self) -> dict[str, Any]:
        """The same of each output."""
        return {value.name: value for value in self._session.get_outputs()}

    def run(self, feed: dict[str, np.ndarray], outputs: Sequence[str] | None = None) -> list[np.ndarray]:
        """The arrays of these outputs, by default of all of them. TargetError with onnxruntime's own words."""
        try:
            return self._session.run(outputs, feed)
        except self._errors as error:
            raise TargetError(
                f"onnxruntime failed: {_first_line(error)}",
                "Check free memory; `python run.py doctor` says what this machine has.",
            ) from error

    def describe(self) -> dict[str, Any]:
        """name, version, provider, threads: what a result has to say about the runtime."""
        threads = self.threads if self._provider == PROVIDERS[CPU] else None
        return {"name": self._name, "version": self._version, "provider": self._provider, "threads": threads}

    def close(self) -> None:
        """Free the model."""
        del self._session


class Session:
    """One of our models in onnxruntime (see session.py for the four methods); threads and errors are Graph's.

    size: pixels a side.
    """

    def __init__(self, model_path: str | Path, *, threads: int = 0, provider: str = CPU) -> None:
        self._graph = Graph(model_path, threads=threads, provider=provider)
        self.size, self._batch, self._empty = _check_graph(self._graph, model_path)

    def run(self, images: np.ndarray) -> Outputs:
        """uint8 [N,S,S,3] RGB -> Outputs. A graph with a fixed batch of 1 is called once an image."""
        check_images(images, self.size)
        return run_in_batches(images, self._batch, self._call) if len(images) else self._empty

    def warm_up(self, seconds: float) -> None:
        """Run on black images for `seconds`, at least three times."""
        keep_busy(self.size, self._batch, self._call, seconds)

    def describe(self) -> dict[str, Any]:
        """name, version, provider, threads: what a result has to say about the runtime."""
        return self._graph.describe()

    def close(self) -> None:
        """Free the model."""
        self._graph.close()

    def _call(self, images: np.ndarray) -> Outputs:
        return Outputs(*self._graph.run({INPUT: images}, OUTPUTS))


def check_provider(provider: str) -> str:
    """onnxruntime's own name of a provider it was built with. TargetError when it has no such, or is not installed."""
    if provider not in PROVIDERS:
        raise TargetError(f"unknown runtime {provider!r}", f"Known here: {', '.join(PROVIDERS)}.")
    ort, _ = _onnxruntime()
    available = ort.get_available_providers()
    if PROVIDERS[provider] not in available:
        raise TargetError(
            f"this onnxruntime {ort.__version__} has no {PROVIDERS[provider]}; it has {', '.join(available)}",
            "Install onnxruntime-gpu for this CUDA version, or name another --runtime.",
        )
    return PROVIDERS[provider]


def _onnxruntime() -> tuple[Any, tuple[type[Exception], ...]]:
    """The module and its exception types, which have no common base of their own."""
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError as error:
        raise TargetError(f"onnxruntime cannot be imported: {error}", "Install it: pip install onnxruntime") from error
    own = tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
    return onnxruntime, (*own, RuntimeError, ValueError)


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
    widths = [outputs[name].shape[1:] for name in OUTPUTS]
    empty = Outputs(*(np.zeros((0, *width), np.float32) for width in widths))
    return shape[1], shape[0] if isinstance(shape[0], int) else None, empty


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0]
