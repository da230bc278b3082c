"""What ten rounds say of a time, and of the ratio of two that took turns in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from ..targets import measure
from ..targets.length import TURNS
from .report import Latency, Ratio, Row


def latency_of(turns: Sequence[np.ndarray]) -> Latency:
    """The latency of one case from the nanoseconds of its queries, an array a turn; of a soak six turns are a round."""
    summary = measure.latency_summary(np.concatenate(turns))
    del summary["batch"]
    each = len(turns) // TURNS
    parts = [np.concatenate(turns[start : start + each]) for start in range(0, len(turns), each)]
    rounds = [round(float(np.median(part)) / 1e6, 5) for part in parts]
    _, low, high = spread(rounds)
    return Latency(**summary, low=low, high=high, rounds=tuple(rounds))


def spread(rounds: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """The median of ten rounds, their second smallest and their second largest.

    Whatever the distribution, the true median lies outside of the last two with 2 (1 + 10) / 2^10 = 2.1 % if rounds are
    independent: the interval of the sign test (Conover, Practical Nonparametric Statistics, 3.2).
    """
    ordered = np.sort(np.asarray(rounds, np.float64))
    return float(np.median(ordered)), float(ordered[1]), float(ordered[-2])


def compared(rows: Sequence[Row]) -> tuple[Row, ...]:
    """The rows, each with its ratio to the first model where both have figures.

    Several models: to that row of the first one which has the same batch, else the same threads, else the same runtime.
    One model: to its first row.
    """
    several = len({row.model for row in rows}) > 1
    of_first = [index for index, row in enumerate(rows) if row.model == rows[0].model and row.latency_ms]
    return tuple(
        replace(row, ratio=_ratio(row, _nearest(row, rows, of_first) if several else of_first[0], rows))
        if row.latency_ms and of_first
        else row
        for row in rows
    )


def _nearest(row: Row, rows: Sequence[Row], among: Sequence[int]) -> int:
    def alike(index: int) -> tuple[bool, ...]:
        other = rows[index]
        same = (other.runtime[key] == row.runtime[key] for key in ("threads", "name"))
        return (other.batch == row.batch, *same)

    return max(among, key=alike)


def _ratio(row: Row, to: int, rows: Sequence[Row]) -> Ratio:
    """Of the times an item, round by round: a busy moment falls on both sides of a round's ratio."""
    value, low, high = spread(_an_item(row) / _an_item(rows[to]))
    return Ratio(to=to, value=round(value, 4), low=round(low, 4), high=round(high, 4))


def _an_item(row: Row) -> np.ndarray:
    assert row.latency_ms is not None
    return np.array(row.latency_ms.rounds) / (row.batch or 1)
