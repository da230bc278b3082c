"""Whether the turns of a measurement measured one thing: no slower at the end, and mostly undisturbed.

A load or a throttling that lasts all along shows in what the machine tells (load.py, state.py). One that comes and goes
shows here. What disturbs a run only ever slows it down, so its quietest turns are held for the truth, and the p50 of
all queries has to lie near them. Turns of earlier runs of the same measurement are looks at the same truth: they tell
of a run that was disturbed from its first turn to its last. A host that is slow for longer than all these looks cannot
be told from within.

How sure the p95 is is not judged: a budget is held against the far end of its interval (percentile.py), so that a wide
one costs whoever measured it and no one else. A shared machine whose tail comes and goes would otherwise never have a
verdict, however far its budget is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .flaws import Flaw

MOST_SLOWER = 0.05  # the last turns over the first ones, less 1
MOST_UNSTEADY = 0.05  # p50 over the quietest turns, less 1
EDGE = 3  # turns that count as the first and the last of ten: one slow turn is no trend


def medians(turns: Sequence[np.ndarray]) -> list[float]:
    """The median in ms of each turn's queries (ns, int64 [n] each)."""
    return [round(float(np.median(turn)) / 1e6, 4) for turn in turns]


def drift(turns: Sequence[np.ndarray]) -> dict[str, Any]:
    """first_p50, last_p50: ms, of the first and the last turns, three of ten and a tenth of more (the first and the
    last minute of a soak); slower: the last over the first, less 1; turns: the median of each, ms."""
    edge, found = max(EDGE, len(turns) // 10), medians(turns)
    first, last = (float(np.median(part)) for part in (found[:edge], found[-edge:]))
    return {
        "first_p50": round(first, 4),
        "last_p50": round(last, 4),
        "slower": round(last / first - 1, 4),
        "turns": found,
    }


def flaws(turns: Sequence[np.ndarray], earlier: Sequence[float] = ()) -> list[Flaw]:
    """Why a run with these turns (ns, int64 [n] each) does not count.

    earlier: medians in ms of turns of earlier runs of the same session.
    """
    found, slower = [], drift(turns)["slower"]
    if slower > MOST_SLOWER:
        found.append(Flaw("slower", value=slower, limit=MOST_SLOWER))
    quietest = float(np.quantile([*medians(turns), *earlier], 0.1))
    above = float(np.median(np.concatenate(turns))) / 1e6 / quietest - 1
    if above > MOST_UNSTEADY:
        found.append(Flaw("unsteady", value=round(above, 4), limit=MOST_UNSTEADY))
    return found
