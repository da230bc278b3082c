"""A PixelCache of a few images, as a store holds it."""

from __future__ import annotations

import numpy as np

from edgedistill.images.pixels import PixelCache


def cache_of(images: list[np.ndarray], seed: int = 0) -> PixelCache:
    hashes = np.random.default_rng(0).integers(0, 256, (len(images), 32), dtype=np.uint8)
    sizes = np.array([image.size for image in images])
    heights, widths = np.array([image.shape[:2] for image in images]).T
    return PixelCache(
        np.concatenate([image.ravel() for image in images]), np.cumsum(sizes) - sizes, widths, heights, hashes, seed
    )
