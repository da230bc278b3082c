"""What is timed is timed beside a machine that is watched, and says why it does not count."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from time import sleep
from typing import Any

import numpy as np
import pytest

from edgedistill.targets import load, measure, state
from edgedistill.targets.length import LONG_ENOUGH_S, SOAK_TURNS, Loop
from edgedistill.targets.load import Load
from edgedistill.targets.watched import Subject, in_turns

SHORT = Loop(warmup_s=0, min_s=0, min_queries=1)
TOLD = replace(SHORT, min_s=LONG_ENOUGH_S)
ROOM, HOT_C = 0.5, 80.0


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The state of a machine that a test sets."""
    now: dict[str, Any] = {"temperature_c": {"cpu": 50.0}}
    monkeypatch.setattr(state, "read_state", lambda gpu, threads: dict(now))
    monkeypatch.setattr(state, "read_throttling", lambda: dict(now))
    return now


def subject(run: Any = lambda query: None) -> Subject:
    return Subject(run, [1, 2, 3], threads=1)


def codes(found: list[Any]) -> list[str]:
    return [flaw.code for flaw in found]


def test_each_gets_the_queries_that_a_p95_needs_in_ten_turns(machine: dict[str, Any]) -> None:
    first, second = in_turns([subject(), subject()], SHORT)
    assert [len(one.turns) for one in (first, second)] == [10, 10]
    assert len(np.concatenate(second.turns)) == measure.LEAST_QUERIES
    assert first.load is None
    assert first.flaws(HOT_C, ROOM) == []


def test_it_is_warmed_up_and_asked_its_queries_in_their_order(machine: dict[str, Any]) -> None:
    asked: list[int] = []
    in_turns([subject(asked.append)], SHORT)
    assert asked[:7] == [1, 2, 3, 1, 2, 3, 1]


def test_the_machine_is_looked_at_after_every_round_and_the_rounds_are_told(machine: dict[str, Any]) -> None:
    told: list[int] = []
    (found,) = in_turns([subject()], replace(SHORT, turns=SOAK_TURNS), progress=told.append)
    assert told == list(range(1, SOAK_TURNS + 1))
    assert len(found.course.during) == SOAK_TURNS


def test_a_hot_machine_does_not_count_however_short_the_loop(machine: dict[str, Any]) -> None:
    machine["temperature_c"] = {"cpu": 90.0}
    (found,) = in_turns([subject()], SHORT)
    assert codes(found.flaws(HOT_C, ROOM)) == ["hot"]


def test_an_alert_in_between_does_not_count(machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    looks = count()
    alert = {"cooling": {"cpu-throttle-alert": 1}}
    monkeypatch.setattr(state, "read_throttling", lambda: alert if next(looks) == 4 else {})
    (found,) = in_turns([subject()], SHORT)
    assert codes(found.flaws(HOT_C, ROOM)) == ["throttled"]


def test_a_busy_machine_and_a_disturbed_run_do_not_count(
    machine: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "load_between", lambda *asked: Load(others=0.7, stolen=0.0, waited=0.0))
    queries = count()

    def slow_but_at_first(query: int) -> None:
        sleep(0.0002 if next(queries) < 50 else 0.001)

    (found,) = in_turns([subject(slow_but_at_first)], TOLD)
    assert {"busy", "unsteady"} <= set(codes(found.flaws(HOT_C, ROOM)))
    assert "busy" not in codes(found.flaws(HOT_C, 1.0))
