"""Training as a stage of a build: one student a seed, and what it answers to the check images before and after."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .. import records
from ..classes.class_vectors import ClassVectors
from ..targets import outside
from ..work import atomic
from ..work.compute import Compute
from ..work.console import Progress
from ..work.stage import Stage, WorkFolder
from . import fine_tune, loop, methods, pace
from .arithmetic import choose_dtype
from .config import TrainConfig, epochs_for
from .evaluate import evaluate
from .lesson import Lesson
from .methods.base import Method
from .methods.data_free import DataFree
from .photo_statistics import move_to_photos, photos_beside_made
from .stand_in import LessonShape, stand_in
from .student import Student
from .student_card import WEIGHTS
from .student_files import load_student
from .student_start import Plan, create_student, plan, plan_again
from .unfold import is_folded

# Versions of the two stages; when to raise them: work/stage.py.
DISTIL = 3  # a student: methods, loop, batches, students
ANSWERS = 2  # what it answers
FINE_TUNE = 2  # a student that learned with int8's steps in its way

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Start:
    """The planned student of a build: for a teacher of `dim` dimensions and this weight hash, at `size` pixels."""

    plan: Plan
    dim: int
    teacher_hash: str
    size: int

    @property
    def knows_teacher(self) -> bool:
        """Whether the start's projector was made for this very teacher."""
        card = self.plan.card
        return card is not None and card.fits(self.dim, self.teacher_hash)

    def untrained(self, seed: int) -> tuple[Student, bool]:
        """The student before training, and whether its projector was made for this very teacher."""
        return create_student(self.plan, self.dim, self.teacher_hash, size=self.size, seed=seed)

    def finished(self, trained: Stage) -> Student:
        """The student that a training left."""
        return load_student(trained.path, dim=self.dim, teacher_hash=self.teacher_hash, size=self.size)[0]


@dataclass(frozen=True)
class Questions:
    """What a student is asked: uint8 [M, S, S, 3] check images, and the stage of their store, which names them."""

    images: np.ndarray
    store_stage: Stage


def student_start(work: WorkFolder, name: str, size: int) -> Plan:
    """The weights that "auto" finds for the network `name`, once for a work folder: others must not come into it
    between two runs. Where the hub was out of reach, nothing was found, and it is asked again."""
    made: list[Plan] = []
    before: list[_Found] = []

    def decide() -> tuple[dict[str, Any], str]:
        made.append(plan(name, "auto", name, size))
        return records.plain(_Found(made[0].source, made[0].sha256, made[0].final)), made[0].reason

    def open_still(found: _Found) -> bool:
        before.append(found)
        return found.source == "scratch" and not found.final

    kept, _ = work.decision("student-start", {"student": name}, decide, kind=_Found, again=open_still)
    if not made:
        return plan_again(name, kept.source, kept.sha256)
    if before and made[0].source == "hub":
        log.warning(
            "the hub is in reach now: a student that began from scratch in %s is trained anew from its weights, %s",
            work.root,
            made[0].reason,
        )
    return made[0]


@dataclass(frozen=True)
class _Found:
    """Where a student's weights come from ("hub" or "scratch"), and whether that was an answer."""

    source: str
    sha256: str | None = None
    final: bool = False


def student_dtype(work: WorkFolder, start: Start, batch: int, compute: Compute) -> str:
    """What a short measurement chose when this work folder first met this student."""
    return compute.choice(
        work,
        "student-dtype",
        {"student": start.plan.name, "size": start.size, "batch": batch},
        lambda: choose_dtype(start.untrained(0)[0], start.size, batch, torch.device(compute.device)),
    )


def epochs_in(
    work: WorkFolder, start: Start, lesson: Lesson, store: Stage, config: TrainConfig, time: Time
) -> tuple[int, str]:
    """As many epochs as `time` is enough for, and why, as this work folder measured when it first met this training.

    The config's epochs and seed do not matter. Raises InputError where there is not time for one epoch.
    """
    described = _described(start, lesson, store, dataclasses.replace(config, epochs=None, seed=0))

    def decide() -> tuple[int, str]:
        found = _settled(work, start, lesson, config, time)
        return found.epochs, found.reason

    return work.decision("epochs", {**described, **dataclasses.asdict(time)}, decide, kind=int)


def views_in(
    work: WorkFolder, start: Start, shape: LessonShape, method: Method, config: TrainConfig, time: Time
) -> int:
    """How many views to store for a training that `time` is enough for: measured, on photos with features that mean
    nothing, when this work folder first met this training. Raises InputError as `epochs_in` does."""
    config = dataclasses.replace(config, epochs=None, seed=0)
    inputs = {
        "pool": shape.pool.fingerprint,
        "mix": shape.mix,
        "student": start.plan.key,
        "method": [method.name, methods.options(method)],
        "config": dataclasses.asdict(config),
        **dataclasses.asdict(time),
    }

    def decide() -> tuple[int, str]:
        with work.scratch() as folder:
            lesson = stand_in(folder, shape, method)
            if lesson is None:
                return pace.VIEWS, "none of the photos that were tried can be read"
            epochs = _settled(work, start, lesson, config, time).epochs
        return pace.views_for(epochs), f"there is time for about {epochs} epochs"

    views, reason = work.decision("views", inputs, decide, kind=int)
    work.say(f"views {views}: {reason}")
    return int(views)


@dataclass(frozen=True)
class Time:
    """How long training may take: `seconds` for `seeds` students together."""

    seconds: float
    seeds: int


def _settled(work: WorkFolder, start: Start, lesson: Lesson, config: TrainConfig, time: Time) -> pace.Settled:
    def measure(seconds: float) -> pace.Pace:
        with work.scratch() as folder:
            return pace.measure(start.untrained(config.seed)[0], lesson, config, folder, seconds)

    log.info("measuring how long an epoch takes")
    return pace.settle(measure, time.seconds, time.seeds)


def train(
    work: WorkFolder, start: Start, lesson: Lesson, store: Stage, config: TrainConfig, progress: Progress
) -> Stage:
    """Train one student from the store that the stage `store` made, to the last epoch. No check image takes part."""
    stage = work.stage("distil", _described(start, lesson, store, config), version=DISTIL)
    if not stage.ready():
        student, _ = start.untrained(config.seed)
        move_batchnorm_to_photos(student, lesson, config)
        loop.train(student, lesson, config, stage.begin(), progress)
        stage.finish()
    return stage


def move_batchnorm_to_photos(student: Student, lesson: Lesson, config: TrainConfig) -> None:
    """Photos beside images that were made: where it is asked for, the statistics that training would keep as they came
    are moved to them."""
    prior = lesson.method.photos_prior if isinstance(lesson.method, DataFree) else 0
    photos = photos_beside_made(lesson.store, lesson.rows)
    if not prior or not len(photos) or config.norm_with(student) == "batch" or is_folded(student.backbone):
        return
    if move_to_photos(student, lesson.store, photos, prior=prior, size=config.size, seed=config.seed):
        log.info("BatchNorm's statistics moved towards those of %d photos", len(photos))


def trained_for_int8(
    work: WorkFolder,
    start: Start,
    trained: Stage,
    lesson: Lesson,
    store: Stage,
    config: TrainConfig,
    photos: np.ndarray,
    progress: Progress,
    *,
    symmetric: bool,
) -> tuple[Stage, str]:
    """The student that `trained` left, taught its lesson a little longer with int8's steps in its way (fine_tune.py),
    and in words what that took. `config`: how it was trained; `photos` uint8 [K,S,S,3] show what its layers see;
    `symmetric`: whether the runtime's steps lie around zero."""
    epochs = config.epochs or epochs_for(len(lesson.rows))
    config = fine_tune.config_for(config, epochs)
    described = _described(start, lesson, store, config)
    shown = hashlib.sha256(photos.tobytes()).hexdigest()
    inputs = {**described, "trained": trained.path.name, "photos": shown, "symmetric": symmetric}
    stage = work.stage("fine-tune", inputs, version=FINE_TUNE)
    words = f"fine-tuned for int8 for {config.epochs} more epochs of {len(lesson.rows)} photos"
    if not stage.ready():
        log.info("int8 loses too much: the student is %s; --qat never leaves this out", words)
        began = time.monotonic()
        student = fine_tune.with_steps(start.finished(trained), photos, symmetric=symmetric)
        loop.train(student, lesson, config, stage.begin(), progress)
        stage.finish()
        log.info("fine-tuning took %.0f s", time.monotonic() - began)
    return stage, words


def _described(start: Start, lesson: Lesson, store: Stage, config: TrainConfig) -> dict[str, Any]:
    """All that a training depends on."""
    classes = lesson.classes
    return {
        "store": store.path.name,
        "rows": atomic.digest(lesson.rows.tolist()),
        "classes": hashlib.sha256(classes.text.tobytes() + classes.baked.tobytes()).hexdigest(),
        "student": start.plan.key,
        "method": [lesson.method.name, methods.options(lesson.method)],
        "config": dataclasses.asdict(config),
    }


def answers(
    work: WorkFolder, start: Start, trained: Stage, seed: int, questions: Questions, classes: ClassVectors
) -> tuple[list[int] | None, list[int]]:
    """The classes that a student chose for the check images before and after training.

    Before is None where its projector was not made for this teacher. No true label takes part.
    """
    # By its sum as well: a student that was trained anew on a GPU is not quite the one from before.
    inputs = {"student": trained.path.name, "check": questions.store_stage.path.name}
    inputs["weights"] = trained.sum_of(WEIGHTS)
    stage = work.stage("answers", inputs, version=ANSWERS)
    if not stage.ready():
        untrained, projector_fits = start.untrained(seed)
        images = questions.images
        chosen = {
            "before": evaluate(untrained, images, classes.baked).tolist() if projector_fits else None,
            "after": evaluate(start.finished(trained), images, classes.baked).tolist(),
        }
        atomic.write_json(stage.begin() / "answers.json", chosen)
        stage.finish()
    chosen = outside.read_object(stage.path / "answers.json", outside.LARGE)
    return chosen["before"], chosen["after"]
