"""Whether bfloat16 is faster than float32 for some piece of work, by a short trial of both in turn.

It knows neither torch nor what it runs. Whoever asks decides what a run is, waits in it until the device is done, and
judges whether both give the same result. The answer is a timed choice: record it, so that a resumed build repeats it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Literal

# bfloat16 costs digits, and a trial is noisy: less than a quarter is worth neither. On a machine with more to do than
# it has cores, one work timed against itself came out at 0.6 to 2.1 times as fast: no bound helps there, and a wrong
# choice costs time alone.
LEAST_GAIN = 1.25


def choose_dtype(
    float32: Callable[[], object], bfloat16: Callable[[], object], *, rounds: int = 10, seconds: float = 5.0
) -> tuple[Literal["float32", "bfloat16"], str]:
    """bfloat16 where it is at least LEAST_GAIN times as fast, and the reason in words.

    The best of up to `rounds` runs each, in turn, after one that warms up; no further round begins after `seconds`.
    """
    best = [math.inf, math.inf]
    began = time.perf_counter()
    for trial in range(rounds + 1):
        for index, run in enumerate((float32, bfloat16)):
            start = time.perf_counter()
            run()
            if trial:  # the first round warms up
                best[index] = min(best[index], time.perf_counter() - start)
        if trial and time.perf_counter() - began > seconds:
            break
    ratio = best[0] / best[1]
    reason = f"in a short trial bfloat16 was {ratio:.2f} times as fast as float32"
    return ("bfloat16" if ratio >= LEAST_GAIN else "float32"), reason
