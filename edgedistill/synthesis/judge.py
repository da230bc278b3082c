"""The teacher that says what an image shows: its features of centre views, and how likely each class is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ..classes.refine import softmax
from ..teacher.in_use import TeacherInUse


@dataclass(frozen=True, eq=False)
class Judge:
    """`vectors` float32 [C,D], unit rows: the classes as the words say; `scale`: of the logits."""

    teacher: TeacherInUse
    vectors: np.ndarray
    scale: float

    def look(self, images: np.ndarray) -> np.ndarray:
        """float32 [n,D], unit rows, of uint8 [n,S,S,3] RGB images."""
        teacher = self.teacher.load(self.teacher.dtype)
        views = np.stack([teacher.centre(Image.fromarray(image)) for image in images])
        return teacher.encode_images(views)

    def probabilities(self, features: np.ndarray) -> np.ndarray:
        """[n,C], rows sum to 1."""
        return softmax(self.scale * features @ self.vectors.T)
