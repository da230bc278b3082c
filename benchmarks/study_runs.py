"""One run of the study: a student taught one way on one set, and what it answers to the check photos.

On a CPU a run is one thread in a process of its own, so that as many go side by side as there are cores: for small
networks that is faster than one run on all of them.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import study_sets
import torch

from edgedistill.distil.arithmetic import reproducible
from edgedistill.distil.config import TrainConfig, batch_for
from edgedistill.distil.evaluate import evaluate
from edgedistill.distil.lesson import Lesson
from edgedistill.distil.loop import begin
from edgedistill.distil.methods import make
from edgedistill.distil.selection import select
from edgedistill.distil.student import Student
from edgedistill.distil.student_start import create_student, plan
from edgedistill.work.console import SILENT


@dataclass(frozen=True)
class Arm:
    """One way to teach. `options` are the method's, `training` fields of TrainConfig, `share` that of the photos which
    `select` leaves; `mixed` views stand beside the plain ones, as many."""

    name: str
    method: str = "prg"
    options: tuple[str, ...] = ()
    weighting: str = "zero-shot"
    refinement: str = "none"
    views: int = study_sets.VIEWS
    mixed: bool = False
    select: str | None = None
    share: float = 1.0
    patience: float = 1.0
    training: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Scale:
    """How large a study is: the student and its start, pixels a side, image-steps of a run among the methods and of one
    in the other parts, where it trains."""

    student: str
    weights: str
    size: int
    image_steps: int
    short_steps: int
    train_on: str
    dtype: str
    workers: int


@dataclass(frozen=True)
class Run:
    """An arm on a prepared set with a seed."""

    arm: Arm
    folder: Path
    seed: int
    scale: Scale
    image_steps: int
    after_every_epoch: bool = False


@dataclass(frozen=True, eq=False)
class Answers:
    """Of the labelled check photos, bool [M] each: which the student got right, and where it chose as the teacher.

    `rows` photos trained, for `epochs` epochs, in `seconds`; `accuracies` after every epoch, where it was asked for.
    """

    right: np.ndarray
    same: np.ndarray
    rows: int
    epochs: int
    seconds: float
    accuracies: tuple[float, ...] = ()


def answer(run: Run) -> Answers:
    """Train to the last epoch, and ask. The teacher is the frozen one, with its text vectors."""
    found, arm, scale = set_of(run.folder), run.arm, run.scale
    if scale.train_on == "cpu":
        torch.set_num_threads(1)
    classes = found.classes(arm.weighting, arm.refinement)
    store = found.store if arm.mixed else found.store.first_views(arm.views)
    rows = found.rows
    if arm.select is not None:
        limit = round(arm.share * len(rows))
        chosen = select(store.mean_views(rows), classes.baked, classes.scale, arm.select, limit, seed=run.seed)  # type: ignore[arg-type]
        rows = rows[chosen.rows]
    lesson = Lesson(
        store=store,
        rows=rows,
        method=make(arm.method, arm.options),
        classes=classes,
        bank=found.bank,
        mean_feature=found.mean_feature,
    )
    recipe = lesson.method.recipe
    settings: dict[str, Any] = {
        "batch": recipe.batch or batch_for(len(rows)),
        "views": recipe.view_targets or "blend",
        **recipe.rates(),
        **arm.training,
    }
    config = TrainConfig(
        size=scale.size,
        epochs=max(1, round(arm.patience * run.image_steps / len(rows))),
        seed=run.seed,
        dtype=scale.dtype,  # type: ignore[arg-type]
        threads=1 if scale.train_on == "cpu" else None,
        train_on=scale.train_on,  # type: ignore[arg-type]
        **settings,
    )
    accuracies, seconds = [], 0.0
    known = found.labels >= 0

    def right(student: Student) -> np.ndarray:
        return evaluate(student, found.check_pixels, classes.baked)[known] == found.labels[known]

    device = torch.device(scale.train_on)
    with tempfile.TemporaryDirectory() as folder, reproducible(device, config.threads):
        training = begin(start(found, scale, run.seed), lesson, config, Path(folder))
        training.prepare()
        while training.epoch < training.epochs:
            began = perf_counter()
            training.one_epoch(SILENT)
            seconds += perf_counter() - began
            if run.after_every_epoch:
                accuracies.append(float(right(training.learner.average).mean()))
        chosen_classes = evaluate(training.learner.average, found.check_pixels, classes.baked)[known]
    return Answers(
        right=chosen_classes == found.labels[known],
        same=chosen_classes == found.teacher_classes[known],
        rows=len(rows),
        epochs=training.epochs,
        seconds=seconds,
        accuracies=tuple(accuracies),
    )


def untrained(folder: Path, scale: Scale) -> Answers | None:
    """The start before training; None where its projector was not made for this teacher."""
    found = set_of(folder)
    student, fits = _created(found, scale, 0)
    if not fits:
        return None
    known = found.labels >= 0
    chosen = evaluate(student, found.check_pixels, found.classes("zero-shot").text)[known]
    return Answers(chosen == found.labels[known], chosen == found.teacher_classes[known], 0, 0, 0.0)


def of_teacher(folder: Path) -> Answers:
    """The frozen teacher, centre view."""
    found = set_of(folder)
    known = found.labels >= 0
    right = found.teacher_classes[known] == found.labels[known]
    return Answers(right, np.ones_like(right), 0, 0, 0.0)


def start(found: study_sets.Set, scale: Scale, seed: int) -> Student:
    return _created(found, scale, seed)[0]


def _created(found: study_sets.Set, scale: Scale, seed: int) -> tuple[Student, bool]:
    planned = plan(None, scale.weights, scale.student, scale.size)
    return create_student(planned, found.store.dim, found.teacher_hash, size=scale.size, seed=seed)


@cache
def set_of(folder: Path) -> study_sets.Set:
    """Read once a process."""
    return study_sets.read(folder)
