"""Work on many images, shared among threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor

_CHUNK = 16


def share(work: Callable[[range], None], count: int, threads: Executor | None) -> None:
    """Call `work` for the numbers 0 to `count`: once for all, or in chunks by `threads`; returns when all is done."""
    if threads is None:
        work(range(count))
    else:
        list(threads.map(work, [range(k, min(k + _CHUNK, count)) for k in range(0, count, _CHUNK)]))
