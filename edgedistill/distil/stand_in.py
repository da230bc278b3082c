"""A lesson to measure on before the teacher has looked at the photos: real pixels, features that mean nothing.

How many views to store has to be known before they are stored, and it depends on how many epochs there is time for.
What a step costs does not depend on what the teacher says of a photo, nor on which photo it is, so a few photos with
random features, taken as often as the pool has photos, cost what the pool will.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..classes.class_vectors import class_vectors
from ..classes.templates import Templates
from ..classes.text_bank import TextBank
from ..images.pool import Pool
from ..teacher.fill import TeacherPass, build_store
from ..teacher.store import TeacherStore
from ..teacher.unit import unit_float32
from ..work.tally import Tally
from .lesson import Lesson
from .methods.base import Method
from .pace import VIEWS

PHOTOS = 32
SCALE = 100.0  # OpenAI CLIP's


@dataclass(frozen=True, eq=False)
class LessonShape:
    """What the lesson to come will look like: of these photos (a Pool and its Tally), kept at `short_side`; of a
    teacher with `dim` dimensions; of so many class `names` and these templates; and with `mix` mixed views."""

    pool: Pool
    tally: Tally
    short_side: int
    dim: int
    names: tuple[str, ...]
    templates: Templates
    mix: int = 0


def stand_in(folder: Path, shape: LessonShape, method: Method) -> Lesson | None:
    """A lesson whose store is made in `folder`; None where none of the photos that it tried can be read."""
    some = _Some(shape.pool, np.unique(np.linspace(0, len(shape.pool) - 1, PHOTOS).astype(np.int64)))
    look = TeacherPass(some, _NoTeacher(shape.dim), views=VIEWS, seed=0, short_side=shape.short_side, mix=shape.mix)
    build_store(folder, look, tally=shape.tally)
    store = TeacherStore.open(folder, verify=False)
    if not len(store):
        return None
    templates = shape.templates.templates
    bank = TextBank(
        vectors=_random(len(shape.names) * len(templates), shape.dim).reshape(
            len(shape.names), len(templates), shape.dim
        ),
        scale=SCALE,
        names=shape.names,
        prompts=(templates,) * len(shape.names),
        templates=shape.templates,
        teacher_id=_NoTeacher.id,
        teacher_hash="",
    )
    return Lesson(
        store=store,
        rows=np.resize(np.arange(len(store)), len(shape.pool)),
        method=method,
        classes=class_vectors(bank, np.full(len(templates), 1 / len(templates)), weighting="uniform"),
        bank=bank,
    )


class _Some:
    """These rows of a pool."""

    def __init__(self, pool: Pool, rows: np.ndarray) -> None:
        self._pool, self._rows = pool, rows
        self.hashes = pool.hashes[rows]

    def __len__(self) -> int:
        return len(self._rows)

    def read(self, row: int) -> bytes:
        return self._pool.read(int(self._rows[row]))


class _NoTeacher:
    """Looks at nothing: random features, and views as small as can be."""

    id = "none"
    image_size = 8

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def centre(self, image: Image.Image) -> np.ndarray:
        return np.zeros((self.image_size, self.image_size, 3), np.uint8)

    def encode_images(self, images: np.ndarray) -> np.ndarray:
        return _random(len(images), self.dim)


def _random(count: int, dim: int) -> np.ndarray:
    """float32 [count, dim], unit."""
    return unit_float32(np.random.default_rng(0).normal(size=(count, dim)))
