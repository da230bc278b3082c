"""Training as a stage of a build: one student a seed, and what it answers to the check images before and after."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass

import numpy as np
import torch

from ..classes.prompts import ClassVectors, TextBank
from ..teacher.store import TeacherStore
from ..work import atomic
from ..work.compute import Compute
from ..work.console import Progress
from ..work.stage import Stage, WorkFolder
from . import loop, methods, students

# Versions of the two stages; when to raise them: work/stage.py.
DISTIL = 2  # a student: methods, loop, batches, students
ANSWERS = 2  # what it answers

@dataclass(frozen=True)
class Start:
    """The planned student of a build: for a teacher of `dim` dimensions and this weight hash, at `size` pixels."""

    plan: students.Plan
    dim: int
    teacher_hash: str
    size: int

    def untrained(self, seed: int) -> tuple[students.Student, bool]:
        """The student before training, and whether its projector was made for this very teacher."""
        return students.create_student(self.plan, self.dim, self.teacher_hash, size=self.size, seed=seed)

    def finished(self, trained: Stage) -> students.Student:
        """The student that a training left."""
        return students.load_student(trained.path, dim=self.dim, teacher_hash=self.teacher_hash, size=self.size)[0]


@dataclass(frozen=True)
class Lesson:
    """What every seed of a build is trained with: the store and its stage, the rows that may train, what to aim at."""

    store: TeacherStore
    store_stage: Stage
    rows: np.ndarray
    method: methods.Method
    classes: ClassVectors
    bank: TextBank


@dataclass(frozen=True)
class Questions:
    """What a student is asked: uint8 [M, S, S, 3] check images, and the stage of their store, which names them."""

    images: np.ndarray
    store_stage: Stage


def student_dtype(work: WorkFolder, start: Start, batch: int, compute: Compute) -> str:
    """What a short measurement chose when this work folder first met this student."""
    return compute.choice(
        work,
        "student-dtype",
        {"student": start.plan.name, "size": start.size, "batch": batch},
        lambda: loop.choose_dtype(start.untrained(0)[0], start.size, batch, torch.device(compute.device)),
    )


def train(work: WorkFolder, start: Start, lesson: Lesson, config: loop.TrainConfig, progress: Progress) -> Stage:
    """Train one student from the store, to the last epoch. No check image takes part."""
    classes = lesson.classes
    stage = work.stage(
        "distil",
        {
            "store": lesson.store_stage.path.name,
            "rows": atomic.digest(lesson.rows.tolist()),
            "classes": hashlib.sha256(classes.text.tobytes() + classes.baked.tobytes()).hexdigest(),
            "student": start.plan.key,
            "method": [lesson.method.name, methods.options(lesson.method)],
            "config": dataclasses.asdict(config),
        },
        version=DISTIL,
    )
    if not stage.done:
        student, _ = start.untrained(config.seed)
        loop.train(
            student, lesson.store, lesson.rows, lesson.method, classes, lesson.bank, config, stage.begin(), progress
        )
        stage.finish()
    return stage


def answers(
    work: WorkFolder, start: Start, trained: Stage, seed: int, questions: Questions, classes: ClassVectors
) -> tuple[list[int] | None, list[int]]:
    """The classes that a student chose for the check images before and after training.

    Before is None where its projector was not made for this teacher. No true label takes part.
    """
    inputs = {"student": trained.path.name, "check": questions.store_stage.path.name}
    stage = work.stage("answers", inputs, version=ANSWERS)
    if not stage.done:
        untrained, projector_fits = start.untrained(seed)
        images = questions.images
        chosen = {
            "before": loop.evaluate(untrained, images, classes.baked).tolist() if projector_fits else None,
            "after": loop.evaluate(start.finished(trained), images, classes.baked).tolist(),
        }
        atomic.write_json(stage.begin() / "answers.json", chosen)
        stage.finish()
    chosen = json.loads((stage.path / "answers.json").read_text())
    return chosen["before"], chosen["after"]
