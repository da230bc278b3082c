"""Mixed views: blends of two crops, of which the one that names the view dominates.

An image has V views of its own (views.py) and, where a store was asked for them, M mixed ones behind these, V to
V + M - 1. Mixed view v of image i is

    lambda * (crop v of image i) + (1 - lambda) * (crop v of image j)

pixel by pixel, each crop at the size of the model that looks at it. Partner j and lambda follow from the seed, the
content hash of i, v and the candidates alone: these are the images of i's block of the store, as far as they could be
decoded. Blocks are runs of the pool's sorted content hashes, so they are known before anything is decoded, and they
are what a killed pass goes on after; an image by itself in its block is blended with itself, which leaves its crop.

The teacher looks at the blended pixels: a blend of two stored features is not the feature of the blend. That the
teacher sees the student's mixed image is Beyer et al. 2022 (arXiv 2106.05237). lambda uniform, Beta(1, 1), is mixup's
(arXiv 1710.09412) strongest usual setting; that the larger share is always i's, and partners from one block, is our
choice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

WHOLE = 256
"""Parts that a blend is made of: whole numbers, so that every device rounds alike."""

_UNIT = 1.0 / (1 << 53)


@dataclass(frozen=True, eq=False)
class Blends:
    """Those m of some crops that are blends.

    which    int64 [m]: their places among the crops
    partner  int64 [m]: row of the other image
    weight   int64 [m]: WHOLE / 2 to WHOLE, the parts of the image itself; the rest are the partner's
    """

    which: np.ndarray
    partner: np.ndarray
    weight: np.ndarray

    def __len__(self) -> int:
        return len(self.which)


@dataclass(frozen=True, eq=False)
class Mixing:
    """Which views are mixed, of N images in blocks.

    plain  V: views below it are crops, the others are blends
    first  int64 [N]: the first row of a row's block
    count  int64 [N]: how many rows the block has
    """

    plain: int
    first: np.ndarray
    count: np.ndarray

    @classmethod
    def of_blocks(cls, plain: int, counts: Iterable[int]) -> Mixing:
        """Of blocks with so many images each, one after the other."""
        each = np.array(list(counts), np.int64)
        return cls(plain, np.repeat(np.cumsum(each) - each, each), np.repeat(each, each))

    def blends(self, seed: int, hashes: np.ndarray, rows: np.ndarray, views: np.ndarray) -> Blends:
        """The blends among view `views[k]` of image `rows[k]`, whole numbers [n].

        `hashes`: uint8 [n, 32], the content hash of each image `rows[k]`.
        """
        which = np.flatnonzero(views >= self.plain)
        mixed = rows[which]
        first, others = self.first[mixed], self.count[mixed] - 1
        drawn = [_uniforms(seed, hashes[k].tobytes(), int(views[k])) for k in which.tolist()]
        place, share = np.array(drawn, np.float64).reshape(-1, 2).T
        # The others in the order of rows, the image itself left out; alone, it is its own partner.
        partner = first + np.floor(place * np.maximum(others, 1)).astype(np.int64)
        partner = np.where(others > 0, partner + (partner >= mixed), mixed)
        weight = WHOLE // 2 + np.floor(share * (WHOLE // 2 + 1)).astype(np.int64)
        return Blends(which, partner, weight)


def blend(own: Any, other: Any, weight: Any) -> Any:
    """`weight` of WHOLE parts of `own`, the rest of `other`, rounded to whole grey levels: the one place where it is.

    Arrays or tensors of whole numbers up to 255, of a type that holds WHOLE * 256 - 1, as uint16 does. Where two
    devices' crops differ by one grey level at most, so do their blends.
    """
    return (weight * own + (WHOLE - weight) * other + WHOLE // 2) // WHOLE


def _uniforms(seed: int, content_hash: bytes, view: int) -> list[float]:
    """Two numbers in [0, 1), 53 bits each."""
    drawn = blake2b(b"%d:%d:" % (seed, view) + content_hash, digest_size=16, person=b"mix").digest()
    return [(int.from_bytes(drawn[i : i + 8], "little") >> 11) * _UNIT for i in (0, 8)]
