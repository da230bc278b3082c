"""TensorRT: runs an engine that was built on this board (trt_build.py). From TensorRT 10.3 on; 11 needs no change.

Memory goes through ctypes on libcudart (cudart.py), so the board needs no package beyond TensorRT's own.
"""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .cudart import Cudart
from .errors import TargetError
from .outside import Unfit, read_bytes
from .session import INPUT, MAX_BATCH, OUTPUTS, Outputs, check_images, keep_busy, run_in_batches
from .trt_module import load_tensorrt, new_logger, new_runtime
from .trt_sidecar import COMPILE, place_of, refuse_foreign

__all__ = ["Session", "load_tensorrt"]

log = logging.getLogger(__name__)

MOST_BYTES = 16 << 30  # of an engine


class Session:
    """One engine on the GPU (see session.py for the four methods).

    Input and outputs have page-locked host buffers; one run copies in, executes and copies out on one stream. With
    `cuda_graph` these steps are recorded once and replayed, which matters most for small networks; if recording is
    refused it says so in describe() and goes on without.
    trt: the module (`load_tensorrt`); cuda: libcudart, by default the one that TensorRT uses.
    TargetError for an engine that was built for another machine, names what differs.

    size: pixels a side; fixed_batch: the one batch the engine takes, None for 1 to 64.
    """

    def __init__(
        self, engine_path: str | Path, trt: Any, *, cuda_graph: bool = False, cuda: Cudart | None = None
    ) -> None:
        self._logger = new_logger(trt)
        self._stream = 0
        self._graph, self._graph_note = 0, "off"
        self._device: dict[str, int] = {}
        self._host: dict[str, int] = {}
        self._arrays: dict[str, np.ndarray] = {}
        self._version = str(trt.__version__)
        sidecar = refuse_foreign(Path(engine_path), place_of(trt))
        self._cuda = cuda or Cudart()
        self._runtime = new_runtime(trt, self._logger)
        self._dla_core = sidecar.get("dla_core")
        if self._dla_core is not None:
            self._runtime.DLA_core = self._dla_core  # before the engine is read
        try:
            serialised = read_bytes(engine_path, MOST_BYTES)
        except (OSError, Unfit) as error:
            raise TargetError(f"cannot read {engine_path}: {error}", COMPILE) from error
        self._engine = self._runtime.deserialize_cuda_engine(serialised)
        if self._engine is None:
            raise TargetError(
                f"TensorRT {self._version} does not load {engine_path}: {self._logger.said()}",
                f"An engine fits one TensorRT version and GPU. {COMPILE}",
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

    def model_ms(self, queries: int) -> np.ndarray:
        """Milliseconds of the GPU for the model alone, float64 [queries]: no copies, no waiting for Python.

        By CUDA events around a run of the session's batch on what its buffers hold. With a CUDA graph the model is
        recorded by itself, so that a small network is not timed by how fast it can be launched.
        """
        cuda, stream = self._cuda, self._stream
        with ExitStack() as freeing:
            begin, end = cuda.event_create(), cuda.event_create()
            freeing.callback(cuda.event_destroy, begin)
            freeing.callback(cuda.event_destroy, end)
            run: Callable[[], None] = self._execute
            if self._graph:
                graph = self._recorded(self._execute)
                freeing.callback(cuda.graph_exec_destroy, graph)
                run = partial(cuda.graph_launch, graph, stream)
            times = np.zeros(queries)
            for query in range(queries):
                cuda.event_record(begin, stream)
                run()
                cuda.event_record(end, stream)
                cuda.stream_synchronize(stream)
                times[query] = cuda.elapsed_ms(begin, end)
        return times

    def describe(self) -> dict[str, Any]:
        """name, version, provider, threads, whether a CUDA graph is replayed, and the DLA core, None without one."""
        return {
            "name": "tensorrt",
            "version": self._version,
            "provider": "TensorRT",
            "threads": None,
            "cuda_graph": self._graph_note,
            "dla_core": self._dla_core,
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
        self._execute()
        for name in OUTPUTS:
            self._cuda.copy_to_host(self._host[name], self._device[name], used[name], self._stream)

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            raise TargetError(f"TensorRT failed to run: {self._logger.said()}", "`python run.py doctor` may say why.")

    def _record(self) -> None:
        """Record one run as a CUDA graph. The run before it lets TensorRT do its first-call work outside of it."""
        self._enqueue()
        self._cuda.stream_synchronize(self._stream)
        try:
            self._graph = self._recorded(self._enqueue)
            self._graph_note = "on"
        except TargetError as error:
            self._graph_note = f"refused: {error.wrong}"
            log.warning("no CUDA graph: %s", error.wrong)

    def _recorded(self, work: Callable[[], None]) -> int:
        """What `work` puts on the stream as an executable graph; nothing of it has run."""
        self._cuda.begin_capture(self._stream)
        failure = None
        try:
            work()
        except TargetError as error:
            failure = error
        try:
            recorded = self._cuda.end_capture(self._stream)  # also after a failure: it ends the recording
        except TargetError as error:
            raise failure or error from error
        try:
            if failure is not None:
                raise failure
            return self._cuda.graph_instantiate(recorded)
        finally:
            self._cuda.graph_destroy(recorded)


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
