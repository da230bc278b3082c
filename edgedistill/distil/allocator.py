"""Keeping freed memory: glibc hands large blocks back to the kernel as soon as they are freed.

A training step on a CPU allocates and frees the same hundreds of megabytes every time, and each round trip costs page
faults, which can take as long as the arithmetic. Told once, the process keeps what it freed.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # malloc.h
_KEEP_BYTES = 1 << 30


def keep_freed_memory() -> bool:
    """Tell glibc to reuse freed memory rather than return it; False where there is no glibc to tell."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return all([mallopt(_TRIM_THRESHOLD, _KEEP_BYTES), mallopt(_MMAP_THRESHOLD, _KEEP_BYTES)])
