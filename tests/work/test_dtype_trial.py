"""bfloat16 is chosen where it is clearly faster, by runs in turn, within the time given."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from edgedistill.work.dtype_trial import choose_dtype


def takes(seconds: float) -> Callable[[], None]:
    return lambda: time.sleep(seconds)


@pytest.mark.parametrize(("float32", "bfloat16", "chosen"), [(0.04, 0.01, "bfloat16"), (0.01, 0.04, "float32")])
def test_the_faster_one_is_chosen_and_the_reason_says_by_how_much(float32: float, bfloat16: float, chosen: str) -> None:
    dtype, reason = choose_dtype(takes(float32), takes(bfloat16), rounds=3)
    assert dtype == chosen
    assert "times as fast as float32" in reason


def test_a_small_gain_is_none() -> None:
    assert choose_dtype(takes(0.055), takes(0.05), rounds=3)[0] == "float32"


def test_runs_take_turns_and_the_first_round_only_warms_up() -> None:
    order: list[str] = []

    def float32() -> None:
        order.append("float32")
        time.sleep(0.02)

    def bfloat16() -> None:
        slow = "bfloat16" not in order
        order.append("bfloat16")
        time.sleep(0.2 if slow else 0.001)

    assert choose_dtype(float32, bfloat16, rounds=2)[0] == "bfloat16"
    assert order == ["float32", "bfloat16"] * 3


def test_no_round_begins_after_the_time_given_but_one_is_always_timed() -> None:
    runs: list[int] = []
    choose_dtype(lambda: runs.append(32), lambda: runs.append(16), seconds=0.0)
    assert runs == [32, 16] * 2
