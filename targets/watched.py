"""Calls timed in turns on a machine that is watched meanwhile, and why what was timed does not count.

Every command here that tells a latency times it this way: `verify`, both `bench`es, and the single stream. The loop is
measure.py's; what is watched is the machine's state (state.py), what else its processors did (load.py), and whether
the turns measured one thing (steadiness.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import numpy as np

from . import cores, load, measure, state, steadiness
from .cudart import Gpu
from .flaws import Flaw
from .length import Loop
from .session import repeat


@dataclass(frozen=True)
class Subject:
    """What is timed: `run` with the next of `queries`, again and again; on `gpu`, or in so many threads."""

    run: Callable[[Any], object]
    queries: Sequence[Any]
    gpu: Gpu | None = None
    threads: int | None = None

    def again(self) -> Callable[[], object]:
        """A call that runs the next query, without end."""
        endless = cycle(self.queries)
        return lambda: self.run(next(endless))

    def state(self) -> dict[str, Any]:
        """The machine's state now, as far as it matters here."""
        return state.read_state(gpu=self.gpu, threads=self.threads)


@dataclass(frozen=True)
class Watched:
    """What was timed, ns, int64 [n] of each turn; and what the machine did meanwhile. load: beside all subjects; None
    where the system does not tell, or the loop was too short for its counters."""

    turns: list[np.ndarray]
    course: state.Course
    load: load.Load | None
    loop: Loop

    def flaws(self, hot_c: float, room: float, earlier: Sequence[float] = ()) -> list[Flaw]:
        """Why it does not count. hot_c: Celsius that the processor may have; room: processors that others may keep
        busy (load.py); earlier: as of steadiness.flaws. A loop that is too short to tell is judged by the machine's
        state alone."""
        found = self.course.flaws(hot_c)
        if self.load is not None:
            found += self.load.flaws(room)
        if self.loop.tells_load:
            found += steadiness.flaws(self.turns, earlier)
        return found


def in_turns(
    subjects: Sequence[Subject],
    loop: Loop,
    *,
    most_s: float = math.inf,
    untimed: int = measure.UNTIMED,
    progress: Callable[[int], object] = lambda rounds: None,
) -> list[Watched]:
    """Every subject warmed up, then timed as measure.take_turns says, which has `most_s` and `untimed`; each gets at
    least the queries that a p95 needs.

    The machine is looked at before, after every round, and at the end while each subject runs. progress: told how many
    of the loop's rounds are over.
    """
    for one in subjects:
        repeat(one.again(), loop.warmup_s)
    before = [one.state() for one in subjects]
    during: list[dict[str, Any]] = []

    def look() -> None:
        during.append(state.read_throttling())
        progress(len(during))

    began = load.read_cpu_time()
    turns = measure.take_turns(
        [(one.run, one.queries) for one in subjects],
        min_s=loop.min_s,
        min_queries=max(loop.min_queries, measure.LEAST_QUERIES),
        turns=loop.turns,
        most_s=most_s,
        untimed=untimed,
        between=look,
    )
    cpus = len(cores.usable_cores())
    meanwhile = load.load_between(began, load.read_cpu_time(), cpus) if loop.tells_load else None
    after = [measure.under_load(one.again(), one.state) for one in subjects]
    return [
        Watched(own, state.Course(earlier, during, later, one.gpu), meanwhile, loop)
        for one, own, earlier, later in zip(subjects, turns, before, after)
    ]
