"""Decoded pixels, kept once: every image of a store as uint8 RGB in one memory-mapped file, cropped on demand.

Images are stored ragged, at a short side that covers the larger of the two models' inputs (`short_side_for`) and never
enlarged. Teacher and student are served by the same function, so a view is the same box for both, each at its own size.

How a box becomes a crop stands in crops.py. torch is imported only there: the processes that decode photos read this
file, and each of them would need seconds and hundreds of megabytes for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from concurrent.futures import Executor
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .cuts import Cuts
from .sharing import share
from .views import Boxes, view_boxes

if TYPE_CHECKING:
    import torch


def short_side_for(*input_sizes: int) -> int:
    """Short side of the cached pixels: 1.15 x the largest input size, so that most crops are not enlarged."""
    return math.ceil(1.15 * max(input_sizes))


def cached_size(width: int, height: int, short_side: int) -> tuple[int, int]:
    """(width, height) under which an image of `width` x `height` is cached: short side at most `short_side`."""
    shortest = min(width, height)
    if shortest <= short_side:
        return width, height
    return (
        short_side if width == shortest else round(width * short_side / shortest),
        short_side if height == shortest else round(height * short_side / shortest),
    )


def shrink(image: Image.Image, short_side: int) -> np.ndarray:
    """RGB image -> uint8 [h, w, 3] as it is cached.

    `reducing_gap=3` first averages whole blocks of a much larger photo: indistinguishable, and several times faster.
    """
    size = cached_size(*image.size, short_side)
    if size != image.size:
        image = image.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0)
    return np.asarray(image)


class PixelCache:
    """The pixels of N images. `pixels` is the whole file as uint8 [bytes], usually memory-mapped.

    Image i has `widths[i]` x `heights[i]` pixels and starts at byte `offsets[i]`; `hashes` (uint8 [N, 32]) and `seed`
    decide its views.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        offsets: np.ndarray,
        widths: np.ndarray,
        heights: np.ndarray,
        hashes: np.ndarray,
        seed: int,
    ) -> None:
        self._pixels = pixels
        self._offsets = offsets
        self._widths = widths
        self._heights = heights
        self._hashes = hashes
        self._seed = seed

    def __len__(self) -> int:
        return len(self._offsets)

    def image(self, row: int | np.integer) -> np.ndarray:
        """uint8 [h, w, 3], read-only: image `row` as it is cached."""
        width, height, start = int(self._widths[row]), int(self._heights[row]), int(self._offsets[row])
        return self._pixels[start : start + 3 * width * height].reshape(height, width, 3)

    @property
    def flat(self) -> np.ndarray:
        """uint8 [bytes], read-only: the pixels of all images, one after another."""
        return self._pixels

    @property
    def widest(self) -> int:
        """Width of the widest image, in pixels."""
        return int(self._widths.max(initial=0))

    def boxes(self, rows: np.ndarray, views: np.ndarray) -> Boxes:
        """Where view `views[k]` of image `rows[k]` lies in that image."""
        return view_boxes(self._seed, self._hashes[rows], views, self._widths[rows], self._heights[rows])

    def cuts(self, rows: np.ndarray, views: np.ndarray) -> Cuts:
        """Where view `views[k]` of image `rows[k]` lies in `flat`."""
        return Cuts.of(self.boxes(rows, views), self._offsets[rows], self._widths[rows])

    def crops(
        self, rows: Iterable[int], views: Iterable[int], size: int, threads: Executor | None = None
    ) -> torch.Tensor:
        """uint8 [n, size, size, 3]: view `views[k]` of image `rows[k]`, resized to `size`.

        The result does not depend on `threads`, which only shares the work.
        """
        import torch

        from .crops import write_crop

        which = np.fromiter(rows, np.int64)
        boxes = self.boxes(which, np.fromiter(views, np.int64))
        batch = np.empty((len(boxes), size, size, 3), np.uint8)

        def fill(part: range) -> None:
            for k in part:
                write_crop(self.image(which[k]), boxes[k], batch[k])

        share(fill, len(boxes), threads)
        return torch.from_numpy(batch)
