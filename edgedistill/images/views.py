"""View v of image i: the crop that teacher and student share, computed from a seed and the image's content hash alone.

View 0 is the centre square, unflipped. Views 1, 2, ... are random resized crops with a mirror image half of the time.
Nothing else enters: not the file name, not the order of the pool, not the other images, not how often one asks. So a
store can be filled today by four threads and read tomorrow by another student at another size, and both see the same
part of the same photo. Resizing the box to a model's input is left to crops.py.

The crop is the usual random resized crop (Szegedy et al. 2015) with one change of ours: the area is drawn relative to
the largest box of the drawn aspect ratio that fits. Every draw is then inside the image, so there is no rejection loop
and no fallback whose share depends on the image's shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import NamedTuple

import numpy as np

# Area of a crop relative to the largest one of its aspect ratio. The lower end is well above the 0.08 of supervised
# training: the teacher names what it sees, and a crop that shows none of the object teaches the wrong name.
SCALE = (0.35, 1.0)
# Width / height, drawn log-uniformly.
RATIO = (3 / 4, 4 / 3)

_UNIT = 1.0 / (1 << 53)


class View(NamedTuple):
    """A box in whole pixels, right and bottom exclusive, and whether its content is mirrored left to right."""

    left: int
    top: int
    right: int
    bottom: int
    flip: bool


def view_box(seed: int, content_hash: bytes, view: int, width: int, height: int) -> View:
    """The box of `view` in an image of `width` x `height` pixels. A pure function.

    `content_hash` is the SHA-256 of the file's bytes. The box is never empty and never leaves the image.
    """
    if view == 0:
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return View(left, top, left + side, top + side, False)
    scale, ratio, across, down, mirror = _uniforms(seed, content_hash, view)
    ratio = math.exp(math.log(RATIO[0]) + ratio * math.log(RATIO[1] / RATIO[0]))
    scale = SCALE[0] + scale * (SCALE[1] - SCALE[0])
    largest = min(float(width), height * ratio)  # width of the largest box of this ratio
    box_width = min(width, max(1, round(largest * math.sqrt(scale))))
    box_height = min(height, max(1, round(largest * math.sqrt(scale) / ratio)))
    left = int(across * (width - box_width + 1))
    top = int(down * (height - box_height + 1))
    return View(left, top, left + box_width, top + box_height, mirror < 0.5)


@dataclass(frozen=True, eq=False)
class Boxes:
    """Views of n images.

    corners  int64 [n, 4]: left, top, right, bottom as in View
    flip     bool [n]
    """

    corners: np.ndarray
    flip: np.ndarray

    def __len__(self) -> int:
        return len(self.flip)

    def __getitem__(self, k: int) -> View:
        left, top, right, bottom = self.corners[k].tolist()
        return View(left, top, right, bottom, bool(self.flip[k]))


def view_boxes(seed: int, hashes: np.ndarray, views: np.ndarray, widths: np.ndarray, heights: np.ndarray) -> Boxes:
    """`view_box` of n views at once, the same to the last bit: view `views[k]` of the image with hash `hashes[k]`.

    `hashes` is uint8 [n, 32]; `views`, `widths` and `heights` are whole numbers [n].
    """
    widths, heights = widths.astype(np.int64), heights.astype(np.int64)
    drawn = b"".join(_draw(seed, content.tobytes(), view) for content, view in zip(hashes, views.tolist(), strict=True))
    bits = np.frombuffer(drawn, "<u8").reshape(-1, 5)
    scale, ratio, across, down, mirror = ((bits >> np.uint64(11)) * _UNIT).T
    # math.exp, not numpy's: the two may differ in the last bit, and a store's boxes must not. np.rint is round().
    exponent = math.log(RATIO[0]) + ratio * math.log(RATIO[1] / RATIO[0])
    ratio = np.array([math.exp(x) for x in exponent.tolist()])
    side = np.sqrt(SCALE[0] + scale * (SCALE[1] - SCALE[0]))
    largest = np.minimum(widths, heights * ratio)
    box_width = np.minimum(widths, np.maximum(1, np.rint(largest * side))).astype(np.int64)
    box_height = np.minimum(heights, np.maximum(1, np.rint(largest * side / ratio))).astype(np.int64)
    left = (across * (widths - box_width + 1)).astype(np.int64)
    top = (down * (heights - box_height + 1)).astype(np.int64)
    corners = np.stack([left, top, left + box_width, top + box_height], axis=1)

    centre, square = views == 0, np.minimum(widths, heights)
    left, top = (widths - square) // 2, (heights - square) // 2
    squares = np.stack([left, top, left + square, top + square], axis=1)
    return Boxes(np.where(centre[:, None], squares, corners), (mirror < 0.5) & ~centre)


def _uniforms(seed: int, content_hash: bytes, view: int) -> list[float]:
    """Five numbers in [0, 1), 53 bits each."""
    drawn = _draw(seed, content_hash, view)
    return [(int.from_bytes(drawn[i : i + 8], "little") >> 11) * _UNIT for i in range(0, 40, 8)]


def _draw(seed: int, content_hash: bytes, view: int) -> bytes:
    """40 random bytes, from a keyed hash used as a counter-based generator."""
    return blake2b(b"%d:%d:" % (seed, view) + content_hash, digest_size=40, person=b"view").digest()
