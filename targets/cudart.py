"""NVIDIA's driver and CUDA runtime through ctypes: what the GPU is, and memory, streams, graphs and events.

No package is needed beside the libraries that TensorRT needs anyway. Only what `trt.py` and `machine.py` use is here.
"""

from __future__ import annotations

import ctypes
from ctypes import POINTER, byref, c_char_p, c_float, c_int, c_size_t, c_uint, c_ulonglong, c_void_p
from dataclasses import dataclass

from .errors import TargetError
from .libcudart import open_library

_TO_DEVICE, _TO_HOST = 1, 2  # cudaMemcpyKind
_CAPTURE_THREAD_LOCAL = 1  # cudaStreamCaptureMode: other threads (our probes) may call CUDA meanwhile
_OUT_OF_MEMORY = 2

# Attribute numbers of cuDeviceGetAttribute (cuda.h); they have never moved.
_MULTIPROCESSORS, _INTEGRATED, _CAPABILITY_MAJOR, _CAPABILITY_MINOR = 16, 18, 75, 76


@dataclass(frozen=True)
class Gpu:
    """One NVIDIA GPU. `integrated` is true on a Jetson, whose GPU shares the system's memory."""

    name: str
    compute_capability: str  # "8.7"
    multiprocessors: int
    memory_mb: int
    integrated: bool
    bus_id: str


def gpus(library: str = "libcuda.so.1") -> list[Gpu] | None:
    """The GPUs of this machine in CUDA's order; [] without a driver; None when the driver is there but refuses.

    Creates no CUDA context, so it costs no GPU memory.
    """
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return []
    count = c_int()
    if driver.cuInit(c_uint(0)) != 0 or driver.cuDeviceGetCount(byref(count)) != 0:
        return None
    found = []
    for index in range(count.value):
        device, memory = c_int(), c_size_t()
        name, bus_id = ctypes.create_string_buffer(256), ctypes.create_string_buffer(32)
        if driver.cuDeviceGet(byref(device), c_int(index)) != 0:
            return None
        driver.cuDeviceGetName(name, c_int(len(name)), device)
        driver.cuDeviceTotalMem_v2(byref(memory), device)
        driver.cuDeviceGetPCIBusId(bus_id, c_int(len(bus_id)), device)
        numbers = {}
        for attribute in (_MULTIPROCESSORS, _INTEGRATED, _CAPABILITY_MAJOR, _CAPABILITY_MINOR):
            value = c_int()
            driver.cuDeviceGetAttribute(byref(value), c_int(attribute), device)
            numbers[attribute] = value.value
        found.append(
            Gpu(
                name=name.value.decode("utf-8", "replace"),
                compute_capability=f"{numbers[_CAPABILITY_MAJOR]}.{numbers[_CAPABILITY_MINOR]}",
                multiprocessors=numbers[_MULTIPROCESSORS],
                memory_mb=memory.value >> 20,
                integrated=bool(numbers[_INTEGRATED]),
                bus_id=bus_id.value.decode("ascii", "replace"),
            )
        )
    return found


class Cudart:
    """libcudart, every call checked. Addresses and handles are plain integers.

    `library` names the file; by default libcudart.py finds it. Raises TargetError when there is none, and for every
    call that fails.
    """

    def __init__(self, library: str | None = None) -> None:
        self._library = open_library(_SIGNATURES, None if library is None else [library])
        self._library.cudaGetErrorString.restype = c_char_p
        self._library.cudaGetErrorString.argtypes = [c_int]
        for name, arguments in _SIGNATURES.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = c_int, arguments

    def malloc(self, size: int) -> int:
        """Address of `size` bytes on the GPU."""
        return self._address("cudaMalloc", c_size_t(size))

    def free(self, address: int) -> None:
        self._call("cudaFree", address)

    def host_alloc(self, size: int) -> int:
        """Address of `size` page-locked bytes on the host, which copy without a detour."""
        return self._address("cudaHostAlloc", c_size_t(size), c_uint(0))

    def free_host(self, address: int) -> None:
        self._call("cudaFreeHost", address)

    def copy_to_device(self, device: int, host: int, size: int, stream: int) -> None:
        self._call("cudaMemcpyAsync", device, host, size, _TO_DEVICE, stream)

    def copy_to_host(self, host: int, device: int, size: int, stream: int) -> None:
        self._call("cudaMemcpyAsync", host, device, size, _TO_HOST, stream)

    def stream_create(self) -> int:
        return self._address("cudaStreamCreate")

    def stream_synchronize(self, stream: int) -> None:
        self._call("cudaStreamSynchronize", stream)

    def stream_destroy(self, stream: int) -> None:
        self._call("cudaStreamDestroy", stream)

    def begin_capture(self, stream: int) -> None:
        """From here on, work put on the stream is recorded and not run."""
        self._call("cudaStreamBeginCapture", stream, _CAPTURE_THREAD_LOCAL)

    def end_capture(self, stream: int) -> int:
        """The recorded graph. After a failed recording the stream is usable again, and this raises."""
        graph = c_void_p()
        self._call("cudaStreamEndCapture", stream, byref(graph))
        return _number(graph)

    def graph_instantiate(self, graph: int) -> int:
        """An executable graph. (The call "with flags" has kept its signature; cudaGraphInstantiate has not.)"""
        executable = c_void_p()
        self._call("cudaGraphInstantiateWithFlags", byref(executable), graph, 0)
        return _number(executable)

    def graph_launch(self, executable: int, stream: int) -> None:
        self._call("cudaGraphLaunch", executable, stream)

    def graph_destroy(self, graph: int) -> None:
        self._call("cudaGraphDestroy", graph)

    def graph_exec_destroy(self, executable: int) -> None:
        self._call("cudaGraphExecDestroy", executable)

    def event_create(self) -> int:
        """An event that keeps the time at which a stream came to it."""
        return self._address("cudaEventCreate")

    def event_record(self, event: int, stream: int) -> None:
        self._call("cudaEventRecord", event, stream)

    def event_destroy(self, event: int) -> None:
        self._call("cudaEventDestroy", event)

    def elapsed_ms(self, start: int, end: int) -> float:
        """Milliseconds of the GPU's own clock between two events that have both happened."""
        milliseconds = c_float()
        self._call("cudaEventElapsedTime", byref(milliseconds), start, end)
        return milliseconds.value

    def memory(self) -> tuple[int, int]:
        """(free, total) bytes of the GPU. Creates this process's CUDA context if there is none yet."""
        free, total = c_size_t(), c_size_t()
        self._call("cudaMemGetInfo", byref(free), byref(total))
        return free.value, total.value

    def _address(self, name: str, *arguments: object) -> int:
        address = c_void_p()
        self._call(name, byref(address), *arguments)
        return _number(address)

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(*arguments)
        if status == 0:
            return
        said = (self._library.cudaGetErrorString(status) or b"unknown error").decode("utf-8", "replace")
        if status == _OUT_OF_MEMORY:
            todo = "The GPU's memory is full: close what else uses it, or lower the batch."
        else:
            todo = "`python run.py doctor` says what this machine has; check the driver with nvidia-smi."
        raise TargetError(f"{name} failed: {said} ({status})", todo)


_SIGNATURES = {
    "cudaMalloc": [POINTER(c_void_p), c_size_t],
    "cudaFree": [c_void_p],
    "cudaHostAlloc": [POINTER(c_void_p), c_size_t, c_uint],
    "cudaFreeHost": [c_void_p],
    "cudaMemcpyAsync": [c_void_p, c_void_p, c_size_t, c_int, c_void_p],
    "cudaStreamCreate": [POINTER(c_void_p)],
    "cudaStreamSynchronize": [c_void_p],
    "cudaStreamDestroy": [c_void_p],
    "cudaStreamBeginCapture": [c_void_p, c_int],
    "cudaStreamEndCapture": [c_void_p, POINTER(c_void_p)],
    "cudaGraphInstantiateWithFlags": [POINTER(c_void_p), c_void_p, c_ulonglong],
    "cudaGraphLaunch": [c_void_p, c_void_p],
    "cudaGraphDestroy": [c_void_p],
    "cudaGraphExecDestroy": [c_void_p],
    "cudaEventCreate": [POINTER(c_void_p)],
    "cudaEventRecord": [c_void_p, c_void_p],
    "cudaEventDestroy": [c_void_p],
    "cudaEventElapsedTime": [POINTER(c_float), c_void_p, c_void_p],
    "cudaMemGetInfo": [POINTER(c_size_t), POINTER(c_size_t)],
}


def _number(pointer: c_void_p) -> int:
    return pointer.value or 0
