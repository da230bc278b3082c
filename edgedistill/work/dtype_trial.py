"""Which numbers are fastest for some piece of work, by a short trial of all in turn.

It knows neither torch nor what it runs. Whoever asks decides what a run is, waits in it until the device is done, and
judges whether all give the same result. The answer is a timed choice: record it, so that a resumed build repeats it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from typing import Literal

# A half precision costs digits, and a trial is noisy: less than a quarter is worth neither. On a machine with more to
# do than it has cores, one work timed against itself came out at 0.6 to 2.1 times as fast: no bound helps there, and a
# wrong choice costs time alone.
LEAST_GAIN = 1.25


def choose_dtype(
    float32: Callable[[], object], bfloat16: Callable[[], object], *, rounds: int = 10, seconds: float = 5.0
) -> tuple[Literal["float32", "bfloat16"], str]:
    """bfloat16 where it is at least LEAST_GAIN times as fast, and the reason in words; `best_seconds` says how."""
    best = best_seconds({"float32": float32, "bfloat16": bfloat16}, rounds=rounds, seconds=seconds)
    ratio = best["float32"] / best["bfloat16"]
    reason = f"in a short trial bfloat16 was {ratio:.2f} times as fast as float32"
    return ("bfloat16" if ratio >= LEAST_GAIN else "float32"), reason


def best_seconds(
    runs: Mapping[str, Callable[[], object]],
    *,
    rounds: int = 10,
    seconds: float = 5.0,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """The shortest of up to `rounds` runs of each, in turn, after one that warms up.

    No round begins after `seconds`. `clock` gives seconds.
    """
    best = dict.fromkeys(runs, math.inf)
    began = clock()
    for trial in range(rounds + 1):
        for name, run in runs.items():
            start = clock()
            run()
            if trial:  # the first round warms up
                best[name] = min(best[name], clock() - start)
        if trial and clock() - began > seconds:
            break
    return best
