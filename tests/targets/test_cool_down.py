"""Between two runs a hot board is waited for, and no other."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from edgedistill.targets import cool_down
from edgedistill.targets.flaws import Flaw

HOT = [Flaw("hot", "cpu-thermal", 86.0, 80.0)]


def reads(*celsius: float, **more: Any) -> tuple[Any, list[float]]:
    """Something that reads these temperatures one after the other, and those that were read."""
    left: Iterator[float] = iter(celsius)
    seen: list[float] = []

    def read() -> dict[str, Any]:
        seen.append(next(left))
        return {"temperature_c": {"cpu-thermal": seen[-1]}, **more}

    return read, seen


@pytest.fixture(autouse=True)
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cool_down, "sleep", lambda seconds: None)


def test_it_waits_until_the_board_is_five_degrees_below_its_limit(capsys: pytest.CaptureFixture[str]) -> None:
    read, seen = reads(86.0, 80.0, 76.0, 75.0, 60.0)
    cool_down.wait(HOT, 80.0, read)
    assert seen == [86.0, 80.0, 76.0, 75.0]
    assert capsys.readouterr().err == "waiting for the board to cool below 75 C, 120 s at most\n"


def test_a_device_that_still_slows_the_processor_down_is_waited_for() -> None:
    states = iter([2, 1, 0])
    cool_down.wait(HOT, 80.0, lambda: {"temperature_c": {"cpu": 50.0}, "cooling": {"cpufreq-cpu0": next(states)}})
    assert next(states, None) is None


def test_it_does_not_wait_for_ever() -> None:
    cool_down.wait(HOT, 80.0, lambda: {"temperature_c": {"cpu-thermal": 90.0}}, most_s=0.01)


def test_other_flaws_and_boards_that_tell_nothing_are_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    cool_down.wait([Flaw("busy", value=1.0, limit=0.2)], 80.0, lambda: pytest.fail("it was read"))
    cool_down.wait(HOT, 80.0, dict)
    assert capsys.readouterr().err == ""
