"""A run that got slower, or whose median lies above its quietest turns, does not count."""

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
def test_a_run_that_got_slower_from_its_first_turns_to_its_last_does_not_count(last: float, told: list[str]) -> None:
    own = turns(*np.linspace(2.0, last, 10))
    assert [code for code in codes(own) if code == "slower"] == told
    assert drift(own)["slower"] == pytest.approx((last / 2 - 1) * 7 / 9, abs=0.01)


def test_one_slow_turn_is_no_trend() -> None:
    assert codes(turns(*[2.0] * 9, 3.0)) == []
    assert codes(turns(3.0, *[2.0] * 9)) == []


def test_a_soak_holds_its_last_minute_against_its_first() -> None:
    own = turns(*[2.0] * 6, *[2.05] * 48, *[2.2] * 6)
    assert drift(own)["first_p50"] == pytest.approx(2.0, rel=0.01)
    assert drift(own)["last_p50"] == pytest.approx(2.2, rel=0.01)
    assert codes(own) == ["slower"]


def test_a_load_for_less_than_half_of_the_turns_moves_no_median() -> None:
    assert codes(turns(*[2.0] * 4, 3.0, 3.5, *[2.0] * 4)) == []
    assert codes(turns(*[2.0, 3.0] * 4, 2.0, 2.0)) == []


@pytest.mark.parametrize(
    "medians",
    [
        [1.0, *[2.0] * 8, 1.0],
        [*[2.0] * 4, 1.0, 1.0, *[2.0] * 4],
        [1.4, 1.0, 1.4, 1.4, 1.4, 1.0, 1.4, 1.4, 1.0, 1.4],
    ],
)
def test_a_run_that_was_disturbed_for_most_of_its_turns_does_not_count(medians: list[float]) -> None:
    assert "unsteady" in codes(turns(*medians))


def test_a_run_that_was_disturbed_all_along_is_told_by_the_turns_of_a_run_before() -> None:
    own = turns(*[2.0] * 10)
    assert codes(own) == []
    assert [flaw.code for flaw in flaws(own, earlier=[1.5, 2.0, 1.5, 2.2, 1.5])] == ["unsteady"]
    assert [flaw.code for flaw in flaws(own, earlier=[2.0, 2.4, 3.0])] == []
