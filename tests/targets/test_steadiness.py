"""Turns that got slower, or that differ so much that a median is not known, do not count."""

from __future__ import annotations

import numpy as np
import pytest

from edgedistill.targets.steadiness import drift, flaws


def turns(*medians_ms: float, tail: float = 1.0) -> list[np.ndarray]:
    """Ten turns of 100 queries around these medians, a tenth of them longer by the factor `tail`."""
    draw = np.random.default_rng(0)
    found = []
    for median in medians_ms:
        own = median * 1e6 * draw.normal(1, 0.005, 100)
        own[draw.choice(100, 10, replace=False)] *= tail
        found.append(own.astype(np.int64))
    return found


def codes(own: list[np.ndarray]) -> list[str]:
    return [flaw.code for flaw in flaws(own)]


def test_turns_that_are_alike_count_whatever_their_tail() -> None:
    assert codes(turns(*[2.0] * 10)) == []
    assert codes(turns(*[2.0] * 10, tail=1.5)) == []


@pytest.mark.parametrize(("last", "told"), [(2.08, []), (2.2, ["slower"]), (1.5, [])])
def test_a_run_that_got_slower_from_its_first_turn_to_its_last_does_not_count(last: float, told: list[str]) -> None:
    own = turns(*np.linspace(2.0, last, 10))
    assert [code for code in codes(own) if code == "slower"] == told
    assert drift(own)["slower"] == pytest.approx(last / 2 - 1, abs=0.005)


def test_a_load_for_two_turns_of_ten_moves_no_median_and_one_for_half_of_them_leaves_it_unknown() -> None:
    assert codes(turns(*[2.0] * 4, 3.0, 3.5, *[2.0] * 4)) == []
    assert codes(turns(*[2.0, 3.0] * 4, 2.0, 2.0)) == ["unsteady"]
