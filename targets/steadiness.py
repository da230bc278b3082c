"""Whether the turns of a measurement measured one thing: no slower at the end, and alike enough for a median.

A load or a throttling that lasts all along shows in what the machine tells (load.py, state.py). One that comes and goes
shows here: the interval of p50 (percentile.py) is as wide as blocks of queries differ. How sure the p95 is is not
judged: a budget is held against the far end of its interval, so that a wide one costs whoever measured it and no one
else. A shared machine whose tail comes and goes would otherwise never have a verdict, however far its budget is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .flaws import Flaw
from .percentile import interval

# The median of the last turn over that of the first, less 1; of a soak, of the last and the first minute.
MOST_SLOWER = 0.05
MOST_UNSURE = 0.05  # how far from p50 either end of its interval may lie, as a share of it


def drift(turns: Sequence[np.ndarray]) -> dict[str, Any]:
    """first_p50, last_p50: ms, of the first and the last turn; slower: the last over the first, less 1."""
    first, last = (float(np.median(turn)) / 1e6 for turn in (turns[0], turns[-1]))
    return {"first_p50": round(first, 4), "last_p50": round(last, 4), "slower": round(last / first - 1, 4)}


def flaws(turns: Sequence[np.ndarray]) -> list[Flaw]:
    """Why a run with these turns (ns, int64 [n] each) does not count."""
    found, slower = [], drift(turns)["slower"]
    if slower > MOST_SLOWER:
        found.append(Flaw("slower", value=slower, limit=MOST_SLOWER))
    queries = np.concatenate(turns)
    if ends := interval(queries, 50):
        middle = float(np.median(queries))
        unsure = max(ends[1] - middle, middle - ends[0]) / middle
        if unsure > MOST_UNSURE:
            found.append(Flaw("unsteady", value=round(unsure, 4), limit=MOST_UNSURE))
    return found
