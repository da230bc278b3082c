"""One run of the study: a student taught one way on one set, and what it answers to the check photos.

A run is one thread in a process of its own, so that as many go side by side as there are cores: for small networks that
is faster than one run on all of them.
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

from edgedistill.distil import students
from edgedistill.distil.config import TrainConfig, batch_for
from edgedistill.distil.evaluate import evaluate
from edgedistill.distil.lesson import Lesson
from edgedistill.distil.loop import train
from edgedistill.distil.methods import make


@dataclass(frozen=True)
class Arm:
    """One way to teach. `options` are the method's, `training` fields of TrainConfig."""

    name: str
    method: str = "prg"
    options: tuple[str, ...] = ()
    weighting: str = "zero-shot"
    refinement: str = "none"
    views: int = study_sets.VIEWS
    training: dict[str, Any] = field(default_factory=dict)
    patience: float = 1.0


@dataclass(frozen=True)
class Run:
    """An arm on a set with a seed, at a size, for so many image-steps in all (times the arm's patience)."""

    arm: Arm
    folder: Path
    seed: int
    size: int
    image_steps: int


@dataclass(frozen=True, eq=False)
class Answers:
    """bool [M] each, over the labelled check photos; agreement after every epoch on the pool is in `epochs`."""

    right: np.ndarray
    same: np.ndarray
    teacher_right: np.ndarray
    seconds: float
    epochs: list[dict[str, Any]]


def answer(run: Run) -> Answers:
    """Train, to the last epoch, and ask. The teacher is the frozen one, with the default's text vectors."""
    torch.set_num_threads(1)
    found, arm = _set(run.folder), run.arm
    classes = found.classes(arm.weighting, arm.refinement)
    method = make(arm.method, arm.options)
    recipe = method.recipe
    lesson = Lesson(
        store=found.store.first_views(arm.views),
        rows=found.rows,
        method=method,
        classes=classes,
        bank=found.bank,
        mean_feature=found.mean_feature,
    )
    epochs = max(1, round(arm.patience * run.image_steps / len(found.rows)))
    settings: dict[str, Any] = {"views": recipe.view_targets or "blend", **recipe.rates(), **arm.training}
    config = TrainConfig(
        size=run.size,
        epochs=epochs,
        batch=recipe.batch or batch_for(len(found.rows)),
        seed=run.seed,
        dtype="float32",
        threads=1,
        train_on="cpu",
        **settings,
    )
    start = start_of(found, run.size, run.seed)
    began = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = train(start, lesson, config, Path(folder))
    seconds = perf_counter() - began
    chosen = evaluate(result.student, found.check_pixels, classes.baked)
    return score(found, chosen, seconds, result.metrics)


def start_of(found: study_sets.Set, size: int, seed: int) -> students.Student:
    plan = students.plan(None, str(study_sets.START), "", size)
    return students.create_student(plan, found.store.dim, found.teacher_hash, size=size, seed=seed)[0]


def score(found: study_sets.Set, chosen: np.ndarray, seconds: float, epochs: list[dict[str, Any]]) -> Answers:
    teacher = found.answers(found.classes("zero-shot").text)
    known = found.labels >= 0
    labels = found.labels[known]
    return Answers(
        right=chosen[known] == labels,
        same=chosen[known] == teacher[known],
        teacher_right=teacher[known] == labels,
        seconds=seconds,
        epochs=epochs,
    )


@cache
def _set(folder: Path) -> study_sets.Set:
    return study_sets.read(folder)
