"""Latency and memory are what the loop saw: counted, ordered, and given only where there is enough of it."""

from __future__ import annotations

from time import sleep

import numpy as np
import pytest
from bundles import colour_pixels
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedistill.targets import measure
from edgedistill.targets.length import TURNS
from edgedistill.targets.session import Outputs


class CountingSession:
    """Answers with fixed outputs and remembers how it was called."""

    def __init__(self, probabilities: np.ndarray | None = None) -> None:
        self.calls: list[int] = []
        self._probabilities = probabilities

    def run(self, images: np.ndarray) -> Outputs:
        self.calls.append(len(images))
        probabilities = (
            np.full((len(images), 3), 1 / 3, np.float32) if self._probabilities is None else self._probabilities
        )
        return Outputs(probabilities, np.ones((len(images), 2), np.float32), np.ones(len(images), np.float32))


def queries_of(count: int) -> list[np.ndarray]:
    """So many images, each a query."""
    return [image[None] for image in colour_pixels(count)[0]]


def test_every_call_gets_its_queries_beside_those_that_do_not_count() -> None:
    session = CountingSession()
    (turns,) = measure.take_turns([(session.run, queries_of(7))], min_s=0, min_queries=900)
    assert session.calls == [1] * (900 + TURNS * measure.UNTIMED)
    times = np.concatenate(turns)
    assert len(times) == 900
    assert (times > 0).all()


def test_it_runs_at_least_as_long_as_asked() -> None:
    (turns,) = measure.take_turns([(CountingSession().run, queries_of(3))], min_s=0.05, min_queries=1)
    assert sum(map(len, turns)) > 400


def test_sessions_take_turns_and_begin_in_another_order_each_time() -> None:
    order: list[str] = []

    class Named(CountingSession):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def run(self, images: np.ndarray) -> Outputs:
            order.append(self.name)
            return super().run(images)

    sessions = [Named("a"), Named("b"), Named("c")]
    times = measure.take_turns([(one.run, queries_of(3)) for one in sessions], min_s=0, min_queries=400)
    assert [sum(map(len, own)) for own in times] == [400] * 3
    turns = [name for name, before in zip(order, [None, *order]) if name != before]
    assert "".join(turns[:9]) == "abcbcacab"
    assert all(order.count(name) == 400 + TURNS * measure.UNTIMED for name in "abc")


def test_the_machine_is_looked_at_after_every_round() -> None:
    seen: list[int] = []
    session = CountingSession()
    measure.take_turns(
        [(one.run, queries_of(3)) for one in (session, CountingSession())],
        min_s=0,
        min_queries=400,
        between=lambda: seen.append(len(session.calls)),
    )
    per_turn = 400 // TURNS + measure.UNTIMED
    assert seen == [per_turn * turn for turn in range(1, TURNS + 1)]


def test_a_slower_session_beside_a_faster_one_is_measured_slower() -> None:
    class Slow(CountingSession):
        def run(self, images: np.ndarray) -> Outputs:
            sleep(0.0005)
            return super().run(images)

    calls = [(one.run, queries_of(3)) for one in (CountingSession(), Slow())]
    fast, slow = measure.take_turns(calls, min_s=0, min_queries=400)
    assert np.median(slow) > np.median(fast) + 400_000


def test_what_is_slow_ends_after_its_time_however_few_queries_that_makes() -> None:
    turns = measure.take_turns([(sleep, [0.002])], min_s=0, min_queries=10_000, most_s=0.05)[0]
    assert len(turns) == TURNS
    assert all(1 <= len(turn) <= 3 for turn in turns)


def test_every_call_gets_its_own_queries_in_their_order() -> None:
    asked: dict[str, list[int]] = {"a": [], "b": []}
    calls = [(asked["a"].append, [1, 2, 3]), (asked["b"].append, [4])]
    turns = measure.take_turns(calls, min_s=0, min_queries=TURNS)
    a_turn = measure.UNTIMED + 1
    assert asked["a"] == ([1, 2, 3] * TURNS * a_turn)[: TURNS * a_turn]
    assert asked["b"] == [4] * TURNS * a_turn
    assert [len(own) for own in turns] == [TURNS] * 2


def test_percentiles_are_nearest_rank_and_need_twenty_above() -> None:
    milliseconds = np.random.default_rng(0).permutation(np.arange(1, 1001))
    found = measure.latency_summary(milliseconds * 1_000_000)
    assert (found["p50"], found["p95"], found["min"], found["max"]) == (500, 950, 1, 1000)
    assert found["p99"] is None  # ten above
    assert measure.latency_summary(np.arange(1, 2001) * 1_000_000)["p99"] == 1980
    assert (found["queries"], found["batch"]) == (1000, 1)


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(400, 3000))
def test_percentiles_rise(seed: int, count: int) -> None:
    times = np.random.default_rng(seed).lognormal(14, 1, count)
    found = measure.latency_summary(times)
    known = [found[key] for key in ("min", "p50", "p95", "p99", "max") if found[key] is not None]
    assert known == sorted(known)
    assert found["p50"] == pytest.approx(np.median(times) / 1e6, rel=0.05)


def test_an_output_that_is_not_finite_is_no_prediction() -> None:
    probabilities = np.array([[0.1, 0.2, 0.7], [np.nan, 0.5, 0.5], [0.6, 0.3, 0.1]], np.float32)
    predictions = measure.predict_all(CountingSession(probabilities), colour_pixels(3)[0])
    assert predictions.tolist() == [2, -1, 0]


def test_the_session_works_while_the_machine_is_asked() -> None:
    session = CountingSession()

    def probe() -> dict[str, int]:
        sleep(0.05)
        return {"calls": len(session.calls)}

    images, _ = colour_pixels(1)
    assert measure.under_load(lambda: session.run(images), probe)["calls"] > 0
    assert session.calls[0] == 1


def test_a_probe_that_fails_is_not_hidden() -> None:
    def probe() -> dict[str, int]:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        measure.under_load(lambda: None, probe)
