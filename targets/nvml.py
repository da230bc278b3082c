"""A GPU's free memory as its driver tells it (NVML through ctypes): also before this process has a CUDA context.

cudaMemGetInfo makes that context in the act of asking, so that what it costs would never be seen. Functions and the
layout of nvmlMemory_t are those of NVIDIA's NVML reference; the library comes with the driver.
"""

from __future__ import annotations

import ctypes
from ctypes import byref, c_char_p, c_ulonglong, c_void_p


class _Memory(ctypes.Structure):
    _fields_ = [(name, c_ulonglong) for name in ("total", "free", "used")]


class GpuMemory:
    """The memory of the GPU at this PCI address ("0000:3b:00.0"). OSError where the driver does not tell of it."""

    def __init__(self, bus_id: str, library: str = "libnvidia-ml.so.1") -> None:
        self._nvml = ctypes.CDLL(library)
        self._device = c_void_p()
        self._call("nvmlInit_v2")
        self._call("nvmlDeviceGetHandleByPciBusId_v2", c_char_p(bus_id.encode()), byref(self._device))
        self.free_mb()

    def free_mb(self) -> float:
        """MiB that no process holds."""
        found = _Memory()
        self._call("nvmlDeviceGetMemoryInfo", self._device, byref(found))
        return found.free / (1 << 20)

    def _call(self, name: str, *arguments: object) -> None:
        try:
            status = getattr(self._nvml, name)(*arguments)
        except AttributeError as error:
            raise OSError(str(error)) from error
        if status != 0:
            raise OSError(f"{name} answered {status}")
