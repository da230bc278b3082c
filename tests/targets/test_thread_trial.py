"""The fewest threads that are nearly as fast as the fastest are found, briefly, and only where there is a choice."""

from __future__ import annotations

import numpy as np
import pytest

from edgedistill.targets import cores, thread_trial
from edgedistill.targets.errors import TargetError
from edgedistill.targets.session import Outputs

IMAGES = [np.zeros((1, 16, 16, 3), np.uint8)] * 4


class Tried:
    """A session that counts its queries."""

    def __init__(self) -> None:
        self.queries, self.closed = 0, False

    def run(self, images: np.ndarray) -> Outputs:
        self.queries += len(images)
        return Outputs(*(np.zeros((len(images), 3), np.float32) for _ in range(3)))

    def close(self) -> None:
        self.closed = True


class Opener(dict[int, Tried]):
    """Opens a session for a number of threads, and keeps it."""

    def __call__(self, threads: int) -> Tried:
        self[threads] = Tried()
        return self[threads]


def machine_with(monkeypatch: pytest.MonkeyPatch, physical: int) -> None:
    monkeypatch.setattr(cores, "physical_cores", lambda: physical)


@pytest.mark.parametrize(
    ("physical", "tried"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (6, [1, 2, 4, 6]), (8, [1, 2, 4, 8])]
)
def test_numbers_double_up_to_the_physical_cores(
    monkeypatch: pytest.MonkeyPatch, physical: int, tried: list[int]
) -> None:
    machine_with(monkeypatch, physical)
    assert thread_trial.choices() == tried


@pytest.mark.parametrize(
    ("medians", "fewest"),
    [
        ({1: 10.0}, 1),
        ({1: 10.0, 2: 5.0}, 2),
        ({1: 6.7, 2: 8.8}, 1),
        ({1: 10.3, 2: 10.0}, 1),
        ({1: 10.4, 2: 10.0}, 2),
        ({1: 20.0, 2: 10.2, 4: 10.0, 8: 12.0}, 2),
        ({1: 20.0, 2: 10.0, 4: 5.2, 8: 5.1}, 4),
    ],
)
def test_the_fewest_threads_within_3_percent_of_the_fastest_are_chosen(medians: dict[int, float], fewest: int) -> None:
    assert thread_trial.fewest(medians) == fewest


def test_every_number_is_tried_and_its_session_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    machine_with(monkeypatch, 4)
    opened = Opener()
    found = thread_trial.medians(opened, IMAGES, seconds=0)
    assert list(found) == list(opened) == [1, 2, 4]
    assert all(median >= 0 for median in found.values())
    assert all(session.closed for session in opened.values())


def test_on_one_core_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    machine_with(monkeypatch, 1)
    opened = Opener()
    assert thread_trial.medians(opened, IMAGES) == {}
    assert not opened


def test_a_model_that_is_too_slow_for_its_time_is_asked_three_times_and_not_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine_with(monkeypatch, 2)
    opened = Opener()
    thread_trial.medians(opened, IMAGES, seconds=0)
    assert [session.queries for session in opened.values()] == [3, 3]


def test_sessions_are_closed_where_one_does_not_open(monkeypatch: pytest.MonkeyPatch) -> None:
    machine_with(monkeypatch, 2)
    opened = Opener()

    def failing(threads: int) -> Tried:
        if threads == 2:
            raise TargetError("no memory", "Free some.")
        return opened(threads)

    with pytest.raises(TargetError, match="no memory"):
        thread_trial.medians(failing, IMAGES)
    assert opened[1].closed


@pytest.mark.parametrize(
    ("threads", "tried", "said"),
    [
        (1, {"1": 6.7, "2": 8.8}, "1 thread: faster here than 2"),
        (1, {"1": 15.1, "2": 14.9}, "1 thread: as fast here as 2"),
        (2, {"1": 20.0, "2": 10.0, "4": 12.0}, "2 threads: faster here than 4"),
        (2, {"1": 20.0, "2": 10.0}, ""),
        (2, None, ""),
        (None, None, ""),
        (1, {"one": 2.0, "²": 1.0, "9" * 5000: 1.0}, ""),
    ],
)
def test_it_is_told_where_fewer_threads_than_cores_are_enough(
    threads: int | None, tried: dict[str, float] | None, said: str
) -> None:
    assert thread_trial.words(threads, tried) == said
