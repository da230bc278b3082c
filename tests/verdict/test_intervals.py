"""The intervals, against published values, a brute-force definition and what must hold for any counts."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.verdict.intervals import paired_difference, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_values(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson(successes, trials) == pytest.approx((low, high), abs=6e-5)


def test_paired_difference_gives_the_published_value() -> None:
    # Agresti, Categorical Data Analysis: approval of a prime minister in two surveys of the same 1600 people.
    difference, low, high = paired_difference(86, 150, 1600)
    assert (difference, low, high) == pytest.approx((-0.04, -0.0587, -0.0213), abs=1e-4)


@given(st.integers(1, 2000), st.data())
def test_wilson_is_the_set_of_rates_that_the_score_test_accepts(trials: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, trials))
    low, high = wilson(successes, trials)
    share = successes / trials
    for rate in (low, high):
        if 0 < rate < 1:
            assert abs(share - rate) == pytest.approx(1.96 * sqrt(rate * (1 - rate) / trials), rel=1e-6, abs=1e-9)
    assert 0 <= low <= share <= high <= 1


@given(st.integers(0, 999))
def test_one_more_success_never_lowers_either_bound(successes: int) -> None:
    assert all(more > less for more, less in zip(wilson(successes + 1, 1001), wilson(successes, 1001)))


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 60))
def test_paired_difference_is_the_interval_of_the_mean_of_per_item_differences(b: int, c: int, same: int) -> None:
    pairs = b + c + same
    if not pairs:
        assert paired_difference(0, 0, 0) == (0.0, -1.0, 1.0)
        return
    items = np.array([1.0] * b + [-1.0] * c + [0.0] * same)
    reach = 1.96 * items.std() / sqrt(pairs)
    difference, low, high = paired_difference(b, c, pairs)
    assert difference == pytest.approx(items.mean())
    assert low == pytest.approx(max(items.mean() - reach, -1), abs=1e-9)
    assert high == pytest.approx(min(items.mean() + reach, 1), abs=1e-9)
    mirrored = paired_difference(c, b, pairs)
    assert mirrored == pytest.approx((-difference, -high, -low))


@pytest.mark.parametrize(("successes", "trials"), [(3, 2), (-1, 2)])
def test_more_successes_than_trials_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match="trials"):
        wilson(successes, trials)


def test_more_discordant_than_pairs_are_refused() -> None:
    with pytest.raises(ValueError, match="discordant"):
        paired_difference(2, 2, 3)


def test_nothing_tried_means_nothing_known() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
