"""How many threads a session on the processor is worth here, found by a short trial where nobody fixed the number.

In a virtual machine the two threads of one physical core may look like two cores. Two threads are then no faster than
one, and slower in int8. The host may hide that from every file that cores.py reads, so it is measured: sessions with
1, 2, 4 ... threads, up to one for each physical core, take turns, and the fewest threads that are nearly as fast as the
fastest are taken. Threads that bring nothing take processors from other programs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from . import cores, measure

NEARLY = 1.03  # of the fastest median
SECONDS = 0.8  # of the turns of all sessions
TURNS = 3


class Session(Protocol):
    """What is tried (session.py, or any graph)."""

    def run(self, query: Any, /) -> object: ...
    def close(self) -> None: ...


def choices() -> list[int]:
    """The numbers of threads to try here: 1, 2, 4 ... and at the end that of the physical cores."""
    most = cores.physical_cores()
    return [count for count in (1, 2, 4) if count < most] + [most]


def medians(opened: Callable[[int], Session], queries: Sequence[Any], seconds: float = SECONDS) -> dict[int, float]:
    """The median in ms of a query, by the number of threads; {} where one is all there is.

    opened: a session with so many threads, which is closed here. queries: what it runs, one after the other. seconds:
    of all turns together; where a model is so slow that three turns would take longer, there are fewer, but one.
    """
    counts = choices()
    if len(counts) == 1:
        return {}
    with ExitStack() as closing:
        sessions = []
        for count in counts:
            sessions.append(opened(count))
            closing.callback(sessions[-1].close)
        started = perf_counter()
        for session in sessions:
            session.run(queries[0])
        a_turn = max(2 * (perf_counter() - started), 1e-6)  # at least a query that is not timed, and one that is
        turns = max(1, min(TURNS, int(seconds / a_turn)))
        found = measure.take_turns(
            [(session.run, queries) for session in sessions],
            min_s=seconds / len(sessions),
            min_queries=turns,
            turns=turns,
            untimed=1,
        )
    return {count: round(float(np.median(np.concatenate(own))) / 1e6, 4) for count, own in zip(counts, found)}


def fewest(tried: Mapping[int, float]) -> int:
    """The fewest threads whose median is within 3 % of the fastest."""
    fastest = min(tried.values())
    return min(count for count, median in tried.items() if median <= NEARLY * fastest)


def words(threads: int | None, tried: Mapping[str, float] | None) -> str:
    """What a trial found, from a result's `threads` and `threads_tried`, in a few words; "" where the most threads were
    worth it, where nothing was tried, and for what is no trial of ours."""
    found = {int(count): median for count, median in (tried or {}).items() if re.fullmatch("[1-9][0-9]{0,3}", count)}
    most = max(found, default=0)
    if threads is None or threads not in found or threads >= most:
        return ""
    how = "faster here than" if found[most] > NEARLY * found[threads] else "as fast here as"
    return f"{threads} {'thread' if threads == 1 else 'threads'}: {how} {most}"
