"""The estimate is the order statistic that MLPerf's rules name, and lies above the percentile as often as they say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgedistill.targets.early_stopping import above_at_most, estimate, summary


def chance(queries: int, most: int, above: float) -> float:
    """Of at most so many of `queries` above, term by term."""
    return sum(math.comb(queries, t) * above**t * (1 - above) ** (queries - t) for t in range(most + 1))


@pytest.mark.parametrize("percent", [90, 99])
@pytest.mark.parametrize("queries", [10, 64, 500, 900])
def test_one_more_above_would_be_too_likely(queries: int, percent: float) -> None:
    most = above_at_most(queries, percent)
    assert most == 0 or chance(queries, most, 1 - percent / 100) <= 0.01
    assert chance(queries, most + 1, 1 - percent / 100) > 0.01


def test_the_fewest_queries_are_loadgens() -> None:
    """64 for the 90th percentile and 662 for the 99th, as loadgen's summary says "Need to process at least"."""
    for percent, fewest in ((90, 64), (99, 662)):
        assert [above_at_most(queries, percent) for queries in (fewest - 1, fewest)] == [0, 1]
    assert estimate(np.arange(63.0)) is None
    assert estimate(np.arange(64.0)) == 63.0


def test_it_lies_above_the_true_percentile_in_99_of_100_runs() -> None:
    draw = np.random.default_rng(0).random((4000, 800))  # the 90th percentile is 0.9
    above = np.mean([estimate(run) >= 0.9 for run in draw])  # type: ignore[operator]
    assert 0.985 <= above < 0.997


def test_many_queries_leave_it_close_to_the_percentile_and_the_summary_names_it() -> None:
    found = summary(np.random.default_rng(1).permutation(np.arange(1, 100_001) * 1000))
    assert found["observed_ms"] == 90.0
    assert 90.0 < found["estimate_ms"] < 90.3
    assert found["queries"] == 100_000
    assert "not an MLPerf result" in found["said"]
