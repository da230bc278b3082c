"""How long an epoch takes on this machine, measured by training for a short while, and how many fit a time.

What is measured is the run itself: this very student, size, batch and store go through the loop of run.py, which
writes into a folder that nobody reads, until a clock has seen enough. So crops, loss, optimiser, moving average and
what an epoch costs beside its steps are all in it. The rate is the mean over all that was seen, not the best of it: a
machine that is disturbed now is taken to be disturbed later, too.

All of it is our choice; no paper says how.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from ..errors import InputError
from .arithmetic import choose_device, reproducible
from .config import TrainConfig, batch_for
from .gpu_run import IN_FLIGHT
from .lesson import Lesson
from .loop import begin, smaller
from .student import Student

Clock = Callable[[], float]

WARM_UP_STEPS = 3
"""Not timed: what is made at first use is made here. Fewer where steps are slow: the share of that is small there."""
LEAST_STEPS = 5
"""Timed, but fewer where steps are slow: measuring must leave time for training."""
SHARE, LEAST_S, MOST_S = 0.1, 2.0, 30.0
"""So much of the time goes into measuring, in seconds at least and at most."""
ENDLESS = 10**6
"""Epochs of a run that is always broken off. So long a warm-up leaves the weights as good as they were."""

VIEWS, VIEWS_FROM = 8, ((400, 32), (200, 16))
"""Views of an image, and those for more than so many epochs: fixed views overfit in long trainings."""


@dataclass(frozen=True)
class Pace:
    """In seconds: what an epoch takes, and what comes once before the first."""

    epoch_s: float
    begin_s: float

    def epochs(self, seconds: float) -> int:
        """How many come closest to so many seconds; at least one."""
        return max(1, round((seconds - self.begin_s) / self.epoch_s))

    def seconds(self, epochs: int) -> float:
        """What so many take."""
        return self.begin_s + epochs * self.epoch_s


def views_for(epochs: int) -> int:
    """Stored views for a training of so many epochs: 8, above 200 epochs 16, above 400 epochs 32."""
    return next((views for above, views in VIEWS_FROM if epochs > above), VIEWS)


def settle(measure: Callable[[float], Pace], seconds: float, seeds: int, clock: Clock = time.perf_counter) -> Settled:
    """As many epochs for each of `seeds` students as fill `seconds` together, measuring included.

    `measure` takes the seconds that it should take. Raises InputError where there is not time for one epoch each.
    """
    began = clock()
    pace = measure(min(MOST_S, max(LEAST_S, SHARE * seconds)))
    spent = clock() - began
    each = seconds / seeds
    if pace.seconds(1) > each:
        students = f" and {seeds} students are to be trained" if seeds > 1 else ""
        raise InputError(
            f"--time of {seconds:g} s is too short: one epoch takes {pace.epoch_s:.2g} s here{students}",
            f"Give it {math.ceil(1.2 * (seeds * pace.seconds(1) + spent))}s or more, or choose fewer photos, a smaller "
            "student or a smaller --input-size.",
        )
    return Settled(pace.epochs((seconds - spent) / seeds), pace, seconds, seeds, spent)


@dataclass(frozen=True)
class Settled:
    """`epochs` for each of `seeds` students, chosen from `pace` for `seconds` in all, `spent` of which it took."""

    epochs: int
    pace: Pace
    seconds: float
    seeds: int
    spent: float

    @property
    def reason(self) -> str:
        """In words, for the log."""
        whole = self.spent + self.seeds * self.pace.seconds(self.epochs)
        students = f" for each of {self.seeds} students" if self.seeds > 1 else ""
        no_closer = abs(whole / self.seconds - 1) > 0.15
        return (
            f"{self.seconds:g} s were asked for and one epoch takes {self.pace.epoch_s:.3g} s here{students}: "
            f"{whole:.0f} s in all, {self.spent:.0f} s of it for measuring"
            + (" (whole epochs come no closer)" if no_closer else "")
        )


def measure(
    student: Student,
    lesson: Lesson,
    config: TrainConfig,
    folder: Path,
    seconds: float,
    clock: Clock = time.perf_counter,
) -> Pace:
    """Train for about `seconds` after a warm-up; `folder` is written to.

    Not for less than LEAST_STEPS steps, where these do not take twice as long, and never for less than one.
    The student and the lesson are as they were. The config's dtype is a settled one; its epochs do not matter. Where a
    GPU's memory does not hold a step, the batch is halved as training does. Raises OutOfMemory.
    """
    device = choose_device(config.train_on)
    batch = config.batch or batch_for(len(lesson.rows))
    with reproducible(device, config.threads):
        while True:
            endless = dataclasses.replace(config, batch=batch, epochs=ENDLESS)
            with contextlib.suppress(torch.OutOfMemoryError):
                return _measured(student, lesson, endless, folder, seconds, clock)
            batch = smaller(batch)
            _give_back_memory()


def _measured(
    student: Student, lesson: Lesson, config: TrainConfig, folder: Path, seconds: float, clock: Clock
) -> Pace:
    began = clock()
    run = begin(student, lesson, config, folder)
    run.prepare()
    ready = clock()
    watch = _Watch(seconds, WARM_UP_STEPS + (IN_FLIGHT if run.device.type == "cuda" else 0), clock)
    with contextlib.suppress(_SeenEnough):
        while True:
            run.one_epoch(watch)
    del run
    _give_back_memory()  # before the training that this was for
    return Pace(watch.per_image * len(lesson.rows), ready - began)


def _give_back_memory() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


class _SeenEnough(Exception):
    """Ends a run that is measured."""


class _Watch:
    """Progress of a loop that breaks it off after `seconds` beyond a warm-up of `warm_up` steps, or of `seconds`."""

    def __init__(self, seconds: float, warm_up: int, clock: Clock) -> None:
        self._seconds, self._warm_up, self._clock = seconds, warm_up, clock
        self._first = clock()
        self._steps, self._images, self._began, self._elapsed = 0, 0, self._first, 0.0
        self._warm = False

    def start(self, title: str, total: int) -> None: ...

    def advance(self, n: int = 1, note: str = "") -> None:
        now = self._clock()
        self._steps += 1
        if not self._warm:
            self._warm = self._steps == self._warm_up or now - self._first >= self._seconds
            self._steps, self._began = (0 if self._warm else self._steps), now
            return
        self._images += n
        self._elapsed = now - self._began
        if self._elapsed >= self._seconds * (1 if self._steps >= LEAST_STEPS else 2):
            raise _SeenEnough

    def done(self) -> None: ...

    @property
    def per_image(self) -> float:
        """Seconds an image."""
        return self._elapsed / self._images
