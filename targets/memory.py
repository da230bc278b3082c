"""In how much memory: what a fresh process takes, at most, from after its imports until it has served.

That is the one definition. It is taken of the memory that the device computes in, with all that lies there for the
model's sake, the CUDA context too:

    rss_growth         a processor: how far the process's resident memory grows
    memavailable_drop  a board whose GPU shares the system's memory: how far that falls
    gpu_free_drop      a GPU with memory of its own: how far that falls, as the driver tells (NVML)

Where the driver does not tell (as in a slice of a shared GPU), CUDA is asked, which first makes the context:
gpu_free_drop_without_context is smaller by it, and says so. 1 MB is 2**20 bytes.
"""

from __future__ import annotations

import contextlib
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from . import cudart, machine, nvml

MB = 1 << 20


def taken_by(work: Callable[[], None], *, on_gpu: bool) -> dict[str, Any]:
    """`peak` in MB (None where the system does not tell) while `work` runs, and its `kind`.

    On a GPU also what the process's own memory grows by, under `rss_growth`.
    """
    resident = ResidentGrowth()
    if not on_gpu:
        work()
        return {"peak": _rounded(resident.peak_mb()), "kind": resident.kind}
    with _shared_memory() as low:
        work()
    return {"peak": _rounded(low.peak_mb()), "kind": low.kind, resident.kind: _rounded(resident.peak_mb())}


class ResidentGrowth:
    """How much a fresh process's resident memory grows: the peak after, minus what was resident before.

    On Linux the kernel's own high-water mark is read (VmHWM; ru_maxrss would still hold the peak of the process that
    started this one), and reset at the start so that a peak of the imports does not hide a smaller one of the model.
    Where there is no /proc (macOS) it is the growth of getrusage's ru_maxrss, the same up to one thing: a peak of the
    imports above what they leave resident is not seen, so the growth comes out smaller by it.
    `proc` is where the process looks itself up.
    """

    kind = "rss_growth"

    def __init__(self, proc: Path = Path("/proc/self")) -> None:
        self._status = proc / "status"
        with contextlib.suppress(OSError):  # if refused, the imports stay in: the growth can only come out too large
            (proc / "clear_refs").write_text("5")
        self._before_mb = self._read_mb("VmRSS")

    def peak_mb(self) -> float | None:
        """MB; None where the system tells neither (Windows)."""
        peak_mb = self._read_mb("VmHWM")
        return None if peak_mb is None or self._before_mb is None else max(0.0, peak_mb - self._before_mb)

    def _read_mb(self, key: str) -> float | None:
        try:
            status = self._status.read_text()
        except OSError:
            return _highest_resident_mb()
        found = re.search(rf"^{key}:\s+(\d+) kB", status, re.MULTILINE)
        return int(found.group(1)) / 1024 if found else None


class LowWater:
    """How far a free amount fell below where it stood: sampled by a thread, every 5 ms, while the block runs.

    For memory the process does not own alone: a GPU's (`free` reads cudaMemGetInfo) or a Jetson's (MemAvailable).
    """

    def __init__(self, kind: str, free_mb: Callable[[], float]) -> None:
        self.kind = kind
        self._free_mb = free_mb
        self._before = self._lowest = free_mb()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> LowWater:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._lowest = min(self._lowest, self._free_mb())

    def peak_mb(self) -> float:
        return max(0.0, self._before - self._lowest)

    def _sample(self) -> None:
        while not self._stop.wait(0.005):
            self._lowest = min(self._lowest, self._free_mb())


def _shared_memory() -> LowWater:
    """Where a GPU session's memory is taken from: a Jetson's one memory, or a discrete GPU's own."""
    gpus = cudart.gpus()
    if gpus and gpus[0].integrated:
        return LowWater("memavailable_drop", machine.memory_available_mb)
    try:
        return LowWater("gpu_free_drop", nvml.GpuMemory(gpus[0].bus_id if gpus else "").free_mb)
    except OSError:
        cuda = cudart.Cudart()
        return LowWater("gpu_free_drop_without_context", lambda: cuda.memory()[0] / MB)


def _rounded(megabytes: float | None) -> float | None:
    return None if megabytes is None else round(megabytes, 1)


def _highest_resident_mb() -> float | None:
    """ru_maxrss, which macOS counts in bytes and every other system in KiB; None where there is no getrusage."""
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (MB if sys.platform == "darwin" else 1024)
