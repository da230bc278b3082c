"""An epoch is measured by training, and the epochs that come closest to a time are chosen."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from edgedistill.distil import loop, pace
from edgedistill.distil.gpu_run import GpuRun
from edgedistill.distil.pace import Pace, measure, settle, views_for
from edgedistill.errors import InputError
from edgedistill.teacher.store import TeacherStore

from .colours import IMAGES, config, fresh_student, lesson

READY = 3  # times that the clock was read before the first step


def ticking(second: float = 1.0) -> Callable[[], float]:
    """A clock that is one tick further each time it is read: with it, every step takes one tick."""
    ticks: Iterator[int] = itertools.count()
    return lambda: next(ticks) * second


@pytest.mark.parametrize("kind", [loop.Run, GpuRun])
def test_an_epoch_takes_as_long_as_its_steps(
    store: TeacherStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[loop.Run]
) -> None:
    monkeypatch.setattr(pace, "begin", kind)
    found = measure(fresh_student(), lesson(store), config(batch=12), tmp_path, 6.0, ticking())
    assert found == Pace(epoch_s=IMAGES / 12, begin_s=1.0)


def test_measuring_ends_when_it_has_seen_enough_and_no_step_of_the_warm_up_counts(
    store: TeacherStore, tmp_path: Path
) -> None:
    clock = ticking()
    measure(fresh_student(), lesson(store), config(), tmp_path, 10.0, clock)
    assert clock() == READY + pace.WARM_UP_STEPS + 10


@pytest.mark.parametrize(("second", "warm_up", "timed"), [(1.0, 3, 10), (2.5, 3, 5), (6.0, 2, 4), (100.0, 1, 1)])
def test_of_slow_steps_fewer_are_measured(
    store: TeacherStore, tmp_path: Path, second: float, warm_up: int, timed: int
) -> None:
    clock = ticking(second)
    found = measure(fresh_student(), lesson(store), config(batch=12), tmp_path, 10.0, clock)
    assert clock() == second * (READY + warm_up + timed)
    assert found.epoch_s == 4 * second


def test_measuring_leaves_student_and_random_numbers_as_they_would_be_without(
    store: TeacherStore, tmp_path: Path
) -> None:
    student, bytes_of = fresh_student(), {}
    for name in ("measured", "plain"):
        folder = tmp_path / name
        folder.mkdir()
        if name == "measured":
            measure(student, lesson(store), config(), tmp_path, 0.0)
        loop.train(student, lesson(store), config(epochs=1), folder)
        bytes_of[name] = (folder / "student.safetensors").read_bytes()
    assert bytes_of["measured"] == bytes_of["plain"]


def test_a_batch_that_a_gpu_does_not_hold_is_measured_as_it_will_be_trained(
    store: TeacherStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fits(student: object, lesson: object, config: object, folder: Path) -> loop.Run:
        if config.batch > 12:  # type: ignore[attr-defined]
            raise torch.OutOfMemoryError
        return loop.Run(student, lesson, config, folder)  # type: ignore[arg-type]

    monkeypatch.setattr(pace, "begin", fits)
    found = measure(fresh_student(), lesson(store), config(batch=24), tmp_path, 6.0, ticking())
    assert found.epoch_s == IMAGES / 12


def test_the_epochs_that_come_closest_to_the_time_are_chosen() -> None:
    settled = settle(lambda seconds: Pace(epoch_s=2.0, begin_s=1.0), 60, 1, clock=ticking())  # measuring takes 1 s
    assert (settled.epochs, settled.spent) == (29, 1.0)
    assert "60 s were asked for and one epoch takes 2 s here: 60 s in all, 1 s of it for measuring" in settled.reason
    assert "closer" not in settled.reason


def test_the_time_is_shared_among_the_seeds() -> None:
    settled = settle(lambda seconds: Pace(epoch_s=2.0, begin_s=1.0), 61, 3, clock=ticking())
    assert settled.epochs == round((60 / 3 - 1) / 2)
    assert "for each of 3 students" in settled.reason


def test_measuring_takes_a_tenth_of_the_time_within_bounds() -> None:
    asked = []
    for seconds in (10, 100, 36_000):
        settle(lambda given: asked.append(given) or Pace(1.0, 0.0), seconds, 1)
    assert asked == [2.0, 10.0, 30.0]


def test_it_is_said_where_whole_epochs_come_no_closer() -> None:
    settled = settle(lambda seconds: Pace(epoch_s=40.0, begin_s=0.0), 61, 1, clock=ticking())
    assert settled.epochs == 2
    assert settled.reason.endswith("(whole epochs come no closer)")


def test_a_time_too_short_for_an_epoch_is_two_lines_that_say_how_long_one_takes() -> None:
    for seconds, seeds in ((40, 1), (80, 3)):
        with pytest.raises(InputError, match=r"one epoch takes 41 s here") as error:
            settle(lambda given: Pace(epoch_s=41.0, begin_s=1.0), seconds, seeds, clock=ticking())
        assert len(str(error.value).splitlines()) == 2
    assert "3 students are to be trained" in str(error.value)
    assert "Give it 153s or more" in str(error.value)  # 1.2 x (3 x 42 + 1)


def test_a_time_for_just_one_epoch_is_enough_for_one() -> None:
    assert settle(lambda given: Pace(epoch_s=9.0, begin_s=0.5), 10, 1, clock=ticking()).epochs == 1


@pytest.mark.parametrize(("epochs", "views"), [(1, 8), (200, 8), (201, 16), (400, 16), (401, 32), (10**6, 32)])
def test_longer_trainings_get_more_views(epochs: int, views: int) -> None:
    assert views_for(epochs) == views
