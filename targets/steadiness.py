"""Whether the turns of a measurement measured one thing: no slower at the end, and alike enough for a p95.

A load or a throttling that lasts all along shows in what the machine tells (load.py, state.py). One that comes and goes
shows here: the interval of p95 (percentile.py) is as wide as blocks of queries differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .flaws import Flaw

MOST_SLOWER = (
    0.05  # the median of the last turn over that of the first, less 1: of a soak, the last and the first minute
)
MOST_UNSURE = 0.05  # how far from p95 either end of its interval may lie, as a share of it


def drift(turns: Sequence[np.ndarray]) -> dict[str, Any]:
    """first_p50, last_p50: ms, of the first and the last turn; slower: the last over the first, less 1."""
    first, last = (float(np.median(turn)) / 1e6 for turn in (turns[0], turns[-1]))
    return {"first_p50": round(first, 4), "last_p50": round(last, 4), "slower": round(last / first - 1, 4)}


def flaws(turns: Sequence[np.ndarray], latency_ms: dict[str, Any]) -> list[Flaw]:
    """Why a run with these turns does not count. latency_ms: their summary (measure.py)."""
    found, slower = [], drift(turns)["slower"]
    if slower > MOST_SLOWER:
        found.append(Flaw("slower", value=slower, limit=MOST_SLOWER))
    p95, low, high = (latency_ms[name] for name in ("p95", "p95_low", "p95_high"))
    if p95 is not None and low is not None and high is not None:
        unsure = max(high - p95, p95 - low) / p95
        if unsure > MOST_UNSURE:
            found.append(Flaw("unsteady", value=round(unsure, 4), limit=MOST_UNSURE))
    return found
