"""How long is measured, and how often again: quick, full and soak, as one object from a flag to the loop.

A run that does not count for the state of the machine (flaws.py: `may_pass`) is made again, up to `runs` in all. A soak
is one run of ten minutes: whether the machine holds its speed that long is what it finds out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MODES = ("full", "quick", "soak")  # the first is the default
RUNS = 3  # of a quick or a full measurement, at most
QUICK_S, QUICK_WARMUP_S = 1.0, 0.2
SOAK_S = 600.0
TURNS = 10  # that each candidate takes
SOAK_TURNS = 60  # so that a soak looks at the machine every ten seconds of a candidate; six turns are its minute
LONG_ENOUGH_S = 0.5  # of a candidate: below it /proc/stat's hundredths of a second tell nothing
AGAIN = "the measurement does not count and is made again"  # how run.py tells of it on stderr
HELP = (
    "quick: 1 s or more a candidate; full: as long as the profile says, 10 s or more; both up to 3 runs where one does "
    "not count. soak: 10 minutes a candidate, one run, which does not count where its last minute is slower than its "
    "first by over 5 %."
)


@dataclass(frozen=True)
class Loop:
    """Seconds before, then at least so many seconds and queries a session, in so many turns; runs: at most, until one
    counts."""

    warmup_s: float
    min_s: float
    min_queries: int
    mode: str = MODES[0]
    runs: int = 1
    turns: int = TURNS

    @property
    def tells_load(self) -> bool:
        """Whether it is long enough to say what else the processors did meanwhile."""
        return self.min_s >= LONG_ENOUGH_S


def loop_of(measure: Mapping[str, Any], mode: str = MODES[0]) -> Loop:
    """The loop of a mode, for a profile's [measure]: warmup_s, min_s and min_queries.

    As many queries as the profile asks for in every mode, as fewer decide nothing; a quick one takes no more seconds
    than they need.
    """
    warmup_s, min_s, queries = measure["warmup_s"], measure["min_s"], measure["min_queries"]
    if mode == "quick":
        return Loop(min(warmup_s, QUICK_WARMUP_S), min(min_s, QUICK_S), queries, mode, RUNS)
    if mode == "soak":
        return Loop(warmup_s, SOAK_S, queries, mode, 1, SOAK_TURNS)
    return Loop(warmup_s, min_s, queries, mode, RUNS)
