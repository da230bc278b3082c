"""The interval of a percentile holds the true one as often as it says, where queries are independent and where not."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.targets.percentile import interval

TRUE = math.exp(0.3 * 1.6448536)  # the 95th percentile of exp(0.3 z), z from the standard normal distribution


def runs_of(queries: int, alike: float, runs: int = 300) -> np.ndarray:
    """Latencies [runs, queries] of that distribution; neighbours have the correlation `alike` (an AR(1) process)."""
    drawn = np.random.default_rng(0).normal(size=(queries, runs))
    for row in range(1, queries):
        drawn[row] = alike * drawn[row - 1] + math.sqrt(1 - alike**2) * drawn[row]
    return np.exp(0.3 * drawn).T


@pytest.mark.parametrize(
    ("queries", "alike", "least"), [(400, 0.0, 0.94), (1000, 0.0, 0.94), (1000, 0.5, 0.94), (4000, 0.9, 0.9)]
)
def test_it_holds_the_true_percentile_about_as_often_as_it_says(queries: int, alike: float, least: float) -> None:
    low, high = np.array([interval(run, 95) for run in runs_of(queries, alike)]).T
    assert ((low <= TRUE) & (high >= TRUE)).mean() >= least  # of 300 runs of which 95 % would hold it, 91 to 99 % do
    assert (high < TRUE).mean() <= 0.04  # the end that a budget is held against
    assert np.median(high - low) / TRUE < 0.2


def test_latencies_that_are_alike_for_a_while_make_it_wider() -> None:
    alone, alike = (
        np.median([np.subtract(*interval(run, 95)[::-1]) for run in runs_of(1000, a, 50)]) for a in (0, 0.9)
    )
    assert alike > 1.5 * alone


@given(st.lists(st.integers(1, 10**9), min_size=40, max_size=300), st.sampled_from([50.0, 90.0, 95.0]))
def test_its_ends_were_seen_and_hold_the_percentile(latencies: list[int], percent: float) -> None:
    low, high = interval(np.array(latencies), percent) or (0, 0)
    assert low in latencies
    assert high in latencies
    assert low <= sorted(latencies)[math.ceil(len(latencies) * percent / 100) - 1] <= high


def test_too_few_queries_have_none() -> None:
    assert interval(np.arange(39.0), 95) is None
