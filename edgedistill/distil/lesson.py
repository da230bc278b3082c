"""What a student is taught, in one object: the teacher's stored features, which of them, and towards what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .methods.base import Material

if TYPE_CHECKING:
    from ..classes.class_vectors import ClassVectors
    from ..classes.text_bank import TextBank
    from ..teacher.store import TeacherStore
    from .methods.base import Method

LEAST_IMAGES = 8


@dataclass(frozen=True, kw_only=True, eq=False)
class Lesson:
    """`rows` of `store`, taught by `method` towards `classes`, which were made of the prompts in `bank`.

    rows: int64 row numbers of the store, each once. Raises InputError for fewer than LEAST_IMAGES.
    mean_feature: float32 [D], the teacher's mean unit feature over a broad image set, or None.
    """

    store: TeacherStore
    rows: np.ndarray
    method: Method
    classes: ClassVectors
    bank: TextBank
    mean_feature: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", np.asarray(self.rows, dtype=np.int64))
        if len(self.rows) < LEAST_IMAGES:
            raise InputError(
                f"{len(self.rows)} images are left to train on",
                f"Give more photos: at least {LEAST_IMAGES}, better 200 or more.",
            )

    def material(self, width: int) -> Material:
        """What the method may prepare itself from, for a student of this width."""
        return Material(
            store=self.store,
            rows=self.rows,
            bank=self.bank,
            classes=self.classes,
            width=width,
            mean_feature=self.mean_feature,
        )
