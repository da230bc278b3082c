from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from edgedistill.classes.templates import Templates
from edgedistill.distil.methods.prg import PRG
from edgedistill.distil.pace import VIEWS, measure
from edgedistill.distil.stand_in import PHOTOS, LessonShape, stand_in
from edgedistill.work.tally import Tally

from .colours import DIM, IMAGES, Photos, config, fresh_student

TEMPLATES = Templates("two", ("{}", "a photo of a {}"))
SHAPE = LessonShape(Photos(IMAGES), Tally("photos", IMAGES), 37, DIM, ("red", "green", "blue"), TEMPLATES)  # type: ignore[arg-type]


def test_a_stand_in_looks_like_the_lesson_to_come_and_can_be_trained_on(tmp_path: Path) -> None:
    lesson = stand_in(tmp_path / "store", SHAPE, PRG())
    assert lesson is not None
    assert len(lesson.rows) == IMAGES
    assert (len(lesson.store), lesson.store.views, lesson.store.dim) == (PHOTOS, VIEWS, DIM)
    assert lesson.classes.baked.shape == (3, DIM)
    assert measure(fresh_student(), lesson, config(), tmp_path, 0.0).epoch_s > 0


def test_photos_that_cannot_be_read_stand_for_nothing(tmp_path: Path) -> None:
    broken = SimpleNamespace(hashes=SHAPE.pool.hashes, read=lambda row: b"not a photo")
    pool = type("Broken", (), {"__len__": lambda self: IMAGES, **vars(broken)})()
    pool.read = broken.read
    # The folder's other photos are good: it is not for this look at a few of them to refuse it.
    assert stand_in(tmp_path / "none", replace(SHAPE, pool=pool, tally=Tally("photos", 10_000)), PRG()) is None


def test_two_looks_are_alike(tmp_path: Path) -> None:
    one, two = (stand_in(tmp_path / name, SHAPE, PRG()) for name in "ab")
    assert one is not None
    assert two is not None
    assert np.array_equal(one.store.stored_features, two.store.stored_features)
