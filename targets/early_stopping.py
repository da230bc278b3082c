"""A percentile as MLPerf inference's early stopping estimates it. Not an MLPerf result: only the estimate is theirs.

Of n queries, the t-th largest latency, with the largest t for which t or fewer of n queries above the percentile would
be seen with a probability of at most 1 %, were the percentile higher than it: so it lies above the true percentile
with 99 % confidence, where queries are independent. The single-stream scenario asks for the 90th percentile, 600 s and
the next query as soon as the last one is answered (MLPerf inference rules, "Scenarios" and the appendix "Early
stopping"; the loop over t is that of loadgen's results.cc, tolerance 0).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from .length import SOAK_TURNS, Loop

PERCENT = 90
CONFIDENCE = 0.99
# Its turns follow each other at once: in between the machine is looked at, which takes some milliseconds.
LOOP = Loop(warmup_s=0.5, min_s=600.0, min_queries=1, mode="single stream", turns=SOAK_TURNS)
SAID = "not an MLPerf result: only the loop and the estimate follow MLPerf's single stream"


def estimate(latencies_ms: np.ndarray, percent: float = PERCENT) -> float | None:
    """The estimate for latencies [n], in any order; None where n is too small for one."""
    discarded = above_at_most(len(latencies_ms), percent)
    return None if discarded == 0 else float(np.sort(latencies_ms)[len(latencies_ms) - discarded])


def above_at_most(queries: int, percent: float = PERCENT) -> int:
    """The largest t for which at most t of so many queries lie above a percentile with a probability of 1 % or less.

    0 where there is none from 1 on, as loadgen counts.
    """
    above = 1 - percent / 100
    logs = math.log(above), math.log1p(-above)
    term, total, found = queries * logs[1], 0.0, 0  # the logarithm of the probability of exactly t
    for count in range(queries + 1):
        total += math.exp(term)
        if total > 1 - CONFIDENCE:
            break
        found = count
        term += math.log(queries - count) - math.log(count + 1) + logs[0] - logs[1] if count < queries else 0.0
    return found


def summary(nanoseconds: np.ndarray) -> dict[str, Any]:
    """What a single-stream run of these queries, int64 [n], says, as JSON."""
    found = estimate(nanoseconds / 1e6)
    return {
        "percentile": PERCENT,
        "confidence": CONFIDENCE,
        "estimate_ms": None if found is None else round(found, 4),
        "observed_ms": round(float(np.sort(nanoseconds)[math.ceil(len(nanoseconds) * PERCENT / 100) - 1] / 1e6), 4),
        "queries": len(nanoseconds),
        "seconds": round(float(nanoseconds.sum() / 1e9), 1),
        "said": SAID,
    }
