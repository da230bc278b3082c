"""TensorRT: builds an engine on the board it will run on, and runs it. From TensorRT 10.3 on; 11 needs no change.

Precision lives in the ONNX file (fp16 or Q/DQ), so the network is built strongly typed and no precision flag or
calibrator is used: those are deprecated in 10.12 and gone in 11. Enum members are named, never numbered, because the
numbers moved between versions. An engine fits one TensorRT version and one GPU: a sidecar beside it says which, and
any difference means building again. Memory goes through ctypes on libcudart (`cudart.py`), so the board needs no
package beyond TensorRT's own.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from .atomic import sha256_file, write_bytes, write_json
from .cudart import Cudart, gpus
from .errors import TargetError
from .machine import memory_available_mb, power_mode
from .manifest import read_json
from .session import INPUT, MAX_BATCH, OUTPUTS, Outputs, check_images, keep_busy, run_in_batches

log = logging.getLogger(__name__)

SIDECAR_SCHEMA = 1


@dataclass(frozen=True)
class BuiltFor:
    """What an engine is bound to. The power mode is here because tactics are chosen by timing in it."""

    tensorrt: str
    gpu: str
    compute_capability: str
    multiprocessors: int
    power_mode: str | None
    onnx_sha256: str


def load_tensorrt(module: str = "tensorrt") -> Any:
    """The TensorRT module: "tensorrt" on a board; "tensorrt_rtx" parses and builds without a GPU, for tests."""
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise TargetError(
            f"{module} cannot be imported: {error}",
            "On a Jetson it belongs to JetPack: make the environment with --system-site-packages, and in a container "
            "use one that holds TensorRT. Elsewhere: pip install tensorrt",
        ) from error


def compile(
    onnx: Path, engine: Path, trt: Any, *, workspace_mb: int | None = None, free_mb: int | None = None
) -> dict[str, Any]:
    """Build `engine` from `onnx` for this machine, strongly typed, and write its sidecar; returns the sidecar.

    workspace_mb: TensorRT's limit for scratch memory; free_mb: refuse to start with less available memory than this
    (on a small board the builder would be killed). A dynamic batch gets one profile, 1 to 64, tuned for 1.
    trt: the module (`load_tensorrt`). Raises TargetError with TensorRT's own words.
    """
    available = memory_available_mb()
    if free_mb is not None and 0 < available < free_mb:
        raise TargetError(
            f"{available:.0f} MB of memory are free, a build here needs {free_mb} MB",
            "Close other programs (on a small Jetson also the desktop), then compile again.",
        )
    start = perf_counter()
    plan = build_plan(onnx, trt, workspace_mb=workspace_mb)
    sidecar = {
        "schema": SIDECAR_SCHEMA,
        **asdict(_built_for(onnx, trt)),
        "engine_sha256": "",
        "build_seconds": round(perf_counter() - start, 1),
        "workspace_mb": workspace_mb,
    }
    write_bytes(engine, plan)
    sidecar["engine_sha256"] = sha256_file(engine)
    write_json(sidecar_of(engine), sidecar)
    return sidecar


def build_plan(onnx: Path, trt: Any, *, workspace_mb: int | None = None) -> bytes:
    """The serialised engine of a self-contained ONNX file. Raises TargetError with TensorRT's own words."""
    logger = _logger(trt)
    builder = trt.Builder(logger)
    strongly_typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(1 << int(strongly_typed) if strongly_typed is not None else 0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(onnx.read_bytes()):
        errors = [_one_line(parser.get_error(index).desc()) for index in range(parser.num_errors)]
        raise TargetError(
            f"TensorRT {trt.__version__} does not accept {onnx}: {'; '.join(errors) or logger.said()}",
            "Export with another --student, or measure this one with --runtime onnxruntime-cuda.",
        )
    config = builder.create_builder_config()
    # fp32 then means fp32, not the 10-bit mantissa of TF32; an fp16 network is not touched by this.
    config.clear_flag(trt.BuilderFlag.TF32)
    if workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb << 20)
    image = network.get_input(0)
    if image.shape[0] == -1:
        rest = tuple(image.shape)[1:]
        profile = builder.create_optimization_profile()
        profile.set_shape(image.name, (1, *rest), (1, *rest), (MAX_BATCH, *rest))
        config.add_optimization_profile(profile)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise TargetError(
            f"TensorRT {trt.__version__} cannot build {onnx}: {logger.said()}",
            "Lower the workspace, free some memory, or measure with --runtime onnxruntime-cuda.",
        )
    return bytes(plan)


def why_stale(onnx: Path, engine: Path, trt: Any) -> str | None:
    """Why `engine` has to be built (again) before it can run here, in words; None when it fits."""
    sidecar_path = sidecar_of(engine)
    if not engine.is_file() or not sidecar_path.is_file():
        return "there is none yet"
    sidecar = read_json(sidecar_path)
    if sidecar.get("schema") != SIDECAR_SCHEMA:
        return f"its sidecar has schema {sidecar.get('schema')!r}"
    for key, value in asdict(_built_for(onnx, trt)).items():
        if sidecar.get(key) != value:
            return f"{key} was {sidecar.get(key)!r} and is {value!r}"
    if sidecar.get("engine_sha256") != sha256_file(engine):
        return "its content is not what was built"
    return None


def sidecar_of(engine: Path) -> Path:
    return engine.with_name(engine.name + ".json")


class Session:
    """One engine on the GPU (see session.py for the four methods).

    Input and outputs have page-locked host buffers; one run copies in, executes and copies out on one stream. With
    `cuda_graph` these steps are recorded once and replayed, which matters most for small networks; if recording is
    refused it says so in describe() and goes on without.
    trt: the module (`load_tensorrt`); cuda: libcudart, by default the one this machine has.

    size: pixels a side; fixed_batch: the one batch the engine takes, None for 1 to 64.
    """

    def __init__(
        self, engine_path: str | Path, trt: Any, *, cuda_graph: bool = False, cuda: Cudart | None = None
    ) -> None:
        self._logger = _logger(trt)  # TensorRT keeps a bare pointer to it
        self._cuda = cuda or Cudart()
        self._stream = 0
        self._graph, self._graph_note = 0, "off"
        self._device: dict[str, int] = {}
        self._host: dict[str, int] = {}
        self._arrays: dict[str, np.ndarray] = {}
        self._version = str(trt.__version__)
        self._runtime = trt.Runtime(self._logger)
        try:
            serialised = Path(engine_path).read_bytes()
        except OSError as error:
            raise TargetError(f"cannot read {engine_path}: {error.strerror}", "Run: python run.py compile") from error
        self._engine = self._runtime.deserialize_cuda_engine(serialised)
        if self._engine is None:
            raise TargetError(
                f"TensorRT {self._version} does not load {engine_path}: {self._logger.said()}",
                "An engine fits one TensorRT version and GPU. Build it here: python run.py compile",
            )
        self.size, self.fixed_batch = _check_engine(trt, self._engine, engine_path)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise TargetError(
                f"TensorRT cannot prepare {engine_path}: {self._logger.said()}",
                "The GPU's memory may be full: close what else uses it.",
            )
        self._batch = self.fixed_batch or 1
        try:
            self._stream = self._cuda.stream_create()
            self._allocate(self.fixed_batch or MAX_BATCH)
            self._set_batch(self._batch)
            if cuda_graph and self.fixed_batch is not None:  # a recording holds for one shape only
                self._record()
        except TargetError:
            self.close()
            raise

    def run(self, images: np.ndarray) -> Outputs:
        """uint8 [N,S,S,3] RGB -> Outputs. An engine with a fixed batch of 1 is called once an image."""
        check_images(images, self.size)
        if len(images) == 0:
            return Outputs(*(self._arrays[name][:0].copy() for name in OUTPUTS))
        return run_in_batches(images, self.fixed_batch, self._call)

    def warm_up(self, seconds: float) -> None:
        """Run on black images for `seconds`, at least three times."""
        keep_busy(self.size, self.fixed_batch, self._call, seconds)

    def describe(self) -> dict[str, Any]:
        """name, version, provider, threads, and whether a CUDA graph is replayed."""
        return {
            "name": "tensorrt",
            "version": self._version,
            "provider": "TensorRT",
            "threads": None,
            "cuda_graph": self._graph_note,
        }

    def close(self) -> None:
        """Free everything on the GPU, and the page-locked host memory. May be called twice."""
        if self._graph:
            self._cuda.graph_exec_destroy(self._graph)
            self._graph = 0
        self._arrays.clear()  # they look into the host buffers
        while self._device:
            self._cuda.free(self._device.popitem()[1])
        while self._host:
            self._cuda.free_host(self._host.popitem()[1])
        if self._stream:
            self._cuda.stream_destroy(self._stream)
            self._stream = 0
        self._context = self._engine = self._runtime = None  # in this order

    def _allocate(self, largest: int) -> None:
        """Buffers for `largest` images, their host side seen as arrays [largest, ...]."""
        for name in (INPUT, *OUTPUTS):
            dtype = np.dtype(np.uint8 if name == INPUT else np.float32)
            shape = (largest, *(int(n) for n in tuple(self._engine.get_tensor_shape(name))[1:]))
            size = int(np.prod(shape)) * dtype.itemsize
            self._device[name] = self._cuda.malloc(size)
            self._host[name] = self._cuda.host_alloc(size)
            raw = (ctypes.c_uint8 * size).from_address(self._host[name])
            self._arrays[name] = np.frombuffer(memoryview(raw), dtype).reshape(shape)
            if not self._context.set_tensor_address(name, self._device[name]):
                raise TargetError(f"TensorRT refuses {name!r}'s buffer: {self._logger.said()}", "Compile it again.")

    def _set_batch(self, count: int) -> None:
        shape = (count, self.size, self.size, 3)
        if self.fixed_batch is None and not self._context.set_input_shape(INPUT, shape):
            raise TargetError(f"TensorRT refuses a batch of {count}: {self._logger.said()}", "Compile it again.")
        self._batch = count

    def _call(self, images: np.ndarray) -> Outputs:
        count = len(images)
        if count != self._batch:
            self._set_batch(count)
        np.copyto(self._arrays[INPUT][:count], images)
        if self._graph:
            self._cuda.graph_launch(self._graph, self._stream)
        else:
            self._enqueue()
        self._cuda.stream_synchronize(self._stream)
        return Outputs(*(self._arrays[name][:count].copy() for name in OUTPUTS))

    def _enqueue(self) -> None:
        """Copy in, execute, copy out: put on the stream, not waited for."""
        used = {name: array[: self._batch].nbytes for name, array in self._arrays.items()}
        self._cuda.copy_to_device(self._device[INPUT], self._host[INPUT], used[INPUT], self._stream)
        if not self._context.execute_async_v3(self._stream):
            raise TargetError(f"TensorRT failed to run: {self._logger.said()}", "`python run.py doctor` may say why.")
        for name in OUTPUTS:
            self._cuda.copy_to_host(self._host[name], self._device[name], used[name], self._stream)

    def _record(self) -> None:
        """Record one run as a CUDA graph. The run before it lets TensorRT do its first-call work outside of it."""
        self._enqueue()
        self._cuda.stream_synchronize(self._stream)
        self._cuda.begin_capture(self._stream)
        failure = None
        try:
            self._enqueue()
        except TargetError as error:
            failure = error
        try:
            recorded = self._cuda.end_capture(self._stream)  # also after a failure: it ends the recording
            if failure is None:
                self._graph = self._cuda.graph_instantiate(recorded)
            self._cuda.graph_destroy(recorded)
        except TargetError as error:
            failure = failure or error
        self._graph_note = "on" if failure is None else f"refused: {failure.wrong}"
        if failure is not None:
            log.warning("no CUDA graph: %s", failure.wrong)


def _built_for(onnx: Path, trt: Any) -> BuiltFor:
    found = gpus()
    gpu = found[0] if found else None
    return BuiltFor(
        tensorrt=str(trt.__version__),
        gpu=gpu.name if gpu else "",
        compute_capability=gpu.compute_capability if gpu else "",
        multiprocessors=gpu.multiprocessors if gpu else 0,
        power_mode=power_mode(),
        onnx_sha256=sha256_file(onnx),
    )


def _check_engine(trt: Any, engine: Any, path: str | Path) -> tuple[int, int | None]:
    """Input side, and the fixed batch (None: dynamic). TargetError for another contract."""
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    types = {name: engine.get_tensor_dtype(name) for name in names}
    wanted = {INPUT: trt.DataType.UINT8, **dict.fromkeys(OUTPUTS, trt.DataType.FLOAT)}
    inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
    if types != wanted or inputs != [INPUT]:
        found = ", ".join(f"{name} {dtype}" for name, dtype in types.items())
        raise TargetError(f"{path} has {found}, not image uint8 and our outputs", "Compile it again from the bundle.")
    shape = tuple(engine.get_tensor_shape(INPUT))
    if len(shape) != 4 or shape[1] != shape[2] or shape[1] <= 0 or shape[3] != 3:
        raise TargetError(f"{path} takes {shape}, not [N,S,S,3]", "Compile it again from the bundle.")
    return int(shape[1]), None if shape[0] == -1 else int(shape[0])


def _logger(trt: Any) -> Any:
    """A TensorRT logger that keeps what went wrong, so that an error can repeat it."""

    class Logger(trt.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self._errors.append(_one_line(message))
            elif severity == trt.ILogger.Severity.WARNING:
                log.warning("TensorRT: %s", _one_line(message))

        def said(self) -> str:
            return "; ".join(self._errors[-3:]) or "it does not say why"

    return Logger()


def _one_line(message: str) -> str:
    return " ".join(message.split())
