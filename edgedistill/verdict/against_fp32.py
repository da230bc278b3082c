"""A lower precision beside fp32, as one device measured both: is it faster, and does it choose as well?

A lower precision costs digits, so it is used only where it pays: its median and its p95 on the device are lower than
fp32's, and on the same check images it is not further behind than the accuracy budget. What is compared is how many
images each gets right: by their true labels where these decide, else by the teacher's choice.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..bundle.checkset import CheckSet
from .intervals import paired_difference
from .results import Result
from .verdict import LABELLED_ENOUGH, AgainstFp32, Budget, KeptBack, Over

FASTER = 0.98  # of fp32's median: what is closer may be the other one tomorrow
LARGEST_DROP = 0.01  # of the images, as measured; the interval has the accuracy budget


def compare(check: CheckSet, result: Result, fp32: Result) -> AgainstFp32:
    """Both results of one device side by side, on the check set that both answered."""
    known = check.labelled
    by_label = int(known.sum()) >= LABELLED_ENOUGH
    truth = check.labels[known] if by_label else check.teacher_class
    right, right_fp32 = (
        (predictions[known] if by_label else predictions) == truth
        for predictions in (result.predictions, fp32.predictions)
    )
    images = len(truth)
    gained, lost = int((right & ~right_fp32).sum()), int((right_fp32 & ~right).sum())
    difference, low, high = paired_difference(gained, lost, images)
    return AgainstFp32(
        p50=_ratio(result, fp32, "p50"),
        p95=_ratio(result, fp32, "p95"),
        difference=difference,
        low=low,
        high=high,
        images=images,
        same=float(np.mean(result.predictions == fp32.predictions)),
    )


def _ratio(result: Result, fp32: Result, name: str) -> float | None:
    own, other = result.latency_ms[name], fp32.latency_ms[name]
    return None if own is None or other is None else own / other


def kept_back(found: AgainstFp32, budget: Budget) -> tuple[KeptBack, ...]:
    """Why a lower precision with these figures is not used; () where it is."""
    why: list[KeptBack] = []
    faster = found.p50 is not None and found.p50 <= FASTER and found.p95 is not None and found.p95 <= 1
    if not faster:
        why.append("not-faster")
    if lost(found, budget):
        why.append("less-accurate")
    return tuple(why)


def lost(found: AgainstFp32, budget: Budget) -> tuple[Over, ...]:
    """The loss against fp32 as a budget that is exceeded, or ()."""
    least = -budget.accuracy_drop_max
    if found.low >= least and found.difference >= -LARGEST_DROP:
        return ()
    # Of the two limits the one that is exceeded is told.
    if found.low >= least:
        return (Over(figure="precision", value=found.difference, limit=-LARGEST_DROP, unit="share"),)
    return (Over(figure="precision", value=found.difference, low=found.low, limit=least, unit="share"),)


def fastest(results: Sequence[Result]) -> Result | None:
    """The fp32 result that others are compared with."""
    measured = [one for one in results if one.latency_ms["p50"] is not None]
    return min(measured, key=lambda one: one.latency_ms["p50"] or 0.0, default=None)
