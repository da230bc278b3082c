"""Ten rounds give an interval that holds the median, and a ratio that a busy moment does not move."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.bench.report import Row
from edgedistill.bench.rounds import compared, latency_of, spread

CPU = {"name": "onnxruntime-cpu", "version": "1", "threads": 1}


def row(model: str, rounds: list[float] | np.ndarray, *, batch: int = 1, **runtime: Any) -> Row:
    latency = latency_of([np.full(50, ms * 1e6).astype(np.int64) for ms in rounds])
    return Row(model=model, file=model, runtime={**CPU, **runtime}, batch=batch, latency_ms=latency)


@given(st.lists(st.floats(0.001, 1000), min_size=10, max_size=10))
def test_the_interval_is_the_second_smallest_and_second_largest_round(rounds: list[float]) -> None:
    middle, low, high = spread(rounds)
    assert low == sorted(rounds)[1]
    assert high == sorted(rounds)[8]
    assert low <= middle <= high


def test_the_interval_holds_the_true_median_as_often_as_it_says() -> None:
    draw = np.random.default_rng(0).lognormal(0, 1, (5_000, 10))  # its median is 1
    intervals = np.array([spread(rounds)[1:] for rounds in draw])
    held = ((intervals[:, 0] <= 1) & (intervals[:, 1] >= 1)).mean()
    assert held == pytest.approx(1 - 22 / 1024, abs=0.008)


def test_a_latency_has_the_percentiles_of_all_queries_and_the_median_of_each_round() -> None:
    turns = [np.arange(1, 101) * 10_000 + shift for shift in range(0, 100_000, 10_000)]
    latency = latency_of(turns)
    assert latency.queries == 1000
    assert latency.rounds == tuple(round(0.505 + 0.01 * turn, 5) for turn in range(10))
    assert (latency.low, latency.high) == (latency.rounds[1], latency.rounds[8])
    assert latency.p50 is not None
    assert latency.low <= latency.p50 <= latency.high


def test_a_busy_moment_falls_on_both_sides_of_a_ratio() -> None:
    busy = np.array([1, 1, 9, 9, 9, 1, 1, 1, 4, 1.0])
    first, second = compared([row("a", busy), row("b", 1.5 * busy)])
    assert first.ratio is not None
    assert second.ratio is not None
    assert (first.ratio.to, first.ratio.value) == (0, 1)
    assert (second.ratio.value, second.ratio.low, second.ratio.high) == pytest.approx((1.5, 1.5, 1.5), abs=1e-3)


def test_a_model_is_compared_with_the_first_ones_row_of_the_same_settings() -> None:
    rows = compared(
        [
            row(model, [1.0] * 10, batch=batch, threads=threads)
            for model in "ab"
            for batch in (1, 8)
            for threads in (1, 2)
        ]
    )
    assert [one.ratio.to for one in rows if one.ratio] == [0, 1, 2, 3, 0, 1, 2, 3]


def test_where_no_settings_are_the_same_the_batch_counts_most() -> None:
    rows = [row("a", [1.0] * 10, batch=1), row("a", [4.0] * 10, batch=8)]
    engine = row("b", [2.0] * 10, batch=8, name="tensorrt", threads=None)
    last = compared([*rows, engine])[-1]
    assert last.ratio is not None
    assert (last.ratio.to, last.ratio.value) == (1, 0.5)


def test_one_models_rows_are_compared_an_item_with_its_first() -> None:
    rows = compared([row("a", [1.0] * 10), row("a", [4.0] * 10, batch=8), row("a", [0.6] * 10, threads=2)])
    assert [one.ratio and (one.ratio.to, one.ratio.value) for one in rows] == [(0, 1), (0, 0.5), (0, 0.6)]


def test_a_row_without_figures_is_compared_with_nothing() -> None:
    failed = Row(model="a", file="a", runtime=CPU, failed="no")
    assert [one.ratio for one in compared([failed, row("b", [1.0] * 10)])] == [None, None]
