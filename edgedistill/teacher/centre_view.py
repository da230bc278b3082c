"""The centre view: an image as the teacher's own preprocessing would show it, before pixels become numbers.

The steps are those of open_clip's evaluation transform with torchvision's rounding, byte for byte (a test compares
them), written with Pillow alone: the processes that decode photos make this view too, and importing open_clip costs
each of them three seconds and 400 MB.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@dataclass(frozen=True)
class CentreView:
    """Upright RGB image -> uint8 [size, size, 3]. `fill` is the grey of what an image of mode `longest` lacks.

    resize_mode  shortest: the short side becomes `size`, then the middle is cut; longest: the long side does, then the
                 short one is filled up; squash: both do
    """

    size: int
    interpolation: str
    resize_mode: str
    fill: int = 0

    @classmethod
    def of(cls, preprocess: dict[str, Any]) -> CentreView:
        """As a teacher's settled preprocessing says (preprocessing.py)."""
        return cls(preprocess["size"], preprocess["interpolation"], preprocess["resize_mode"], preprocess["fill_color"])

    def __call__(self, image: Image.Image) -> np.ndarray:
        resized = image.resize(self._resized(*image.size), _FILTERS[self.interpolation])
        if resized.size == (self.size, self.size):
            return np.array(resized, dtype=np.uint8)
        return np.array(self._cut_or_filled(resized), dtype=np.uint8)

    def _resized(self, width: int, height: int) -> tuple[int, int]:
        if self.resize_mode == "squash":
            return self.size, self.size
        if self.resize_mode == "shortest":
            long_side = int(self.size * max(width, height) / min(width, height))
            return (self.size, long_side) if width <= height else (long_side, self.size)
        ratio = max(width / self.size, height / self.size)
        return max(1, round(width / ratio)), max(1, round(height / ratio))  # of a hair's width, one pixel stays

    def _cut_or_filled(self, image: Image.Image) -> Image.Image:
        missing = [max(0, self.size - side) for side in image.size]
        canvas_size = [side + lacking for side, lacking in zip(image.size, missing)]
        canvas = Image.new("RGB", (canvas_size[0], canvas_size[1]), (self.fill,) * 3)
        canvas.paste(image, (missing[0] // 2, missing[1] // 2))
        left, top = (int(round((side - self.size) / 2.0)) for side in canvas_size)
        return canvas.crop((left, top, left + self.size, top + self.size))
