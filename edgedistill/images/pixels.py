"""Decoded pixels, kept once: every image of a store as uint8 RGB in one memory-mapped file, cropped on demand.

Images are stored ragged, at a short side that covers the larger of the two models' inputs (`short_side_for`) and never
enlarged. Teacher and student are served by the same function, so a view is the same box for both, each at its own size.

How a box becomes a crop stands in crops.py. torch is imported only there: the processes that decode photos read this
file, and each of them would need seconds and hundreds of megabytes for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from .cuts import Cuts
from .mixes import Blends, Mixing, blend
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
    decide its views, and `mixing` which of these are blends of two crops; None: none of them.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        offsets: np.ndarray,
        widths: np.ndarray,
        heights: np.ndarray,
        hashes: np.ndarray,
        seed: int,
        mixing: Mixing | None = None,
    ) -> None:
        self._pixels = pixels
        self._offsets = offsets
        self._widths = widths
        self._heights = heights
        self._hashes = hashes
        self._seed = seed
        self._mixing = mixing

    @classmethod
    def of_block(cls, images: Sequence[np.ndarray], hashes: np.ndarray, seed: int, plain: int) -> PixelCache:
        """Images in memory, uint8 [h, w, 3] each, that are one block of a store with `plain` views before the mixed."""
        heights, widths = np.array([image.shape[:2] for image in images], np.int64).reshape(-1, 2).T
        ends = np.cumsum(3 * heights * widths)
        pixels = np.concatenate([image.ravel() for image in images])
        mixing = Mixing.of_blocks(plain, [len(images)])
        return cls(pixels, ends - 3 * heights * widths, widths, heights, hashes, seed, mixing)

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

    def blends(self, rows: np.ndarray, views: np.ndarray) -> Blends | None:
        """Which of view `views[k]` of image `rows[k]` are blends, and with what; None: none of them.

        The other crop of a blend is that of the same view of the partner.
        """
        if self._mixing is None or not (views >= self._mixing.plain).any():
            return None
        return self._mixing.blends(self._seed, self._hashes[rows], rows, views)

    def boxes(self, rows: np.ndarray, views: np.ndarray) -> Boxes:
        """Where view `views[k]` of image `rows[k]` lies in that image; of a blend, the image's own part."""
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

        which, seen = np.fromiter(rows, np.int64), np.fromiter(views, np.int64)
        boxes = self.boxes(which, seen)
        batch = np.empty((len(boxes), size, size, 3), np.uint8)

        def fill(part: range) -> None:
            for k in part:
                write_crop(self.image(which[k]), boxes[k], batch[k])

        share(fill, len(boxes), threads)
        blends = self.blends(which, seen)
        if blends is not None:
            self._blend_in(batch, blends, seen[blends.which], threads)
        return torch.from_numpy(batch)

    def _blend_in(self, batch: np.ndarray, blends: Blends, views: np.ndarray, threads: Executor | None) -> None:
        """Blend the partners' crops, in these views [m], into the crops that are blends."""
        from .crops import write_crop

        boxes = self.boxes(blends.partner, views)

        def fill(part: range) -> None:
            other = np.empty(batch.shape[1:], np.uint8)
            for k in part:
                write_crop(self.image(blends.partner[k]), boxes[k], other)
                own = batch[blends.which[k]]
                own[...] = blend(own.astype(np.uint16), other.astype(np.uint16), np.uint16(blends.weight[k]))

        share(fill, len(boxes), threads)
