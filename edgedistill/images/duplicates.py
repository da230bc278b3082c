"""Near-duplicates: pool images that are all but a check image, such as two frames of one camera a second apart.

Training on one of them would make the check flatter the student, so they are dropped and counted. Two signs must agree,
since either alone is no test: the difference hash calls all dark or empty frames alike, and a teacher's features call
two washers on one floor alike.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from PIL import Image

MAX_HAMMING = 6  # of 64 bits
MIN_COSINE = 0.97


class Fingerprints(Protocol):
    """What is compared: `dhash` uint64 [N], and the centre views' unit features as float32 [n, D]."""

    dhash: np.ndarray

    def centre(self, rows: np.ndarray | None = None) -> np.ndarray: ...


def difference_hash(pixels: np.ndarray) -> int:
    """64-bit difference hash of uint8 RGB [h, w, 3]: of a 9 x 8 grey copy, is each pixel darker than its right one?"""
    grey = Image.fromarray(pixels).resize((9, 8), Image.Resampling.BILINEAR, reducing_gap=2.0).convert("L")
    levels = np.asarray(grey)
    bits = np.packbits(levels[:, :-1] < levels[:, 1:])
    return int.from_bytes(bits.tobytes(), "big")


def near_duplicates(pool: Fingerprints, check: Fingerprints, chunk: int = 1024) -> np.ndarray:
    """bool [N]: pool rows within 6 bits of the difference hash *and* above 0.97 cosine of one and the same check image.

    Works through the pool `chunk` rows at a time; N x M pairs cost two matrix products.
    """
    found = np.zeros(len(pool.dhash), bool)
    check_signs, check_features = _signs(check.dhash), check.centre()
    for start in range(0, len(found), chunk):
        rows = np.arange(start, min(start + chunk, len(found)))
        # For vectors of ±1 the product counts equal bits minus unequal ones: 64 − 2 x the Hamming distance.
        alike = _signs(pool.dhash[rows]) @ check_signs.T >= 64 - 2 * MAX_HAMMING
        candidates = rows[alike.any(axis=1)]
        if len(candidates):
            close = pool.centre(candidates) @ check_features.T > MIN_COSINE
            found[candidates] = (close & alike[candidates - start]).any(axis=1)
    return found


def _signs(dhash: np.ndarray) -> np.ndarray:
    """uint64 [n] -> float32 [n, 64] of ±1."""
    octets = np.ascontiguousarray(dhash, np.uint64).view(np.uint8).reshape(-1, 8)
    return np.unpackbits(octets, axis=1).astype(np.float32) * 2 - 1
