"""What every runtime's Session gives back.

A Session has four methods: run(images) -> Outputs, warm_up(seconds), describe() -> dict, close(). There is one a
runtime (`ort.py`, `trt.py`); they share no code, only this shape.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .errors import TargetError

INPUT = "image"
OUTPUTS = ("probabilities", "embedding", "known")
MAX_BATCH = 64  # of a graph with a dynamic batch


class Outputs(NamedTuple):
    """probabilities float32 [N,C], rows sum to 1; embedding float32 [N,D], unit norm; known float32 [N], 0..1."""

    probabilities: np.ndarray
    embedding: np.ndarray
    known: np.ndarray


def check_images(images: np.ndarray, size: int) -> None:
    """TargetError unless `images` is uint8 [N, size, size, 3]."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3):
        raise TargetError(
            f"the model takes uint8 [N, {size}, {size}, 3], not {images.dtype} {list(images.shape)}",
            "Make the pixels with to_pixels (targets/preprocess.py) at this size.",
        )


def joined(parts: list[Outputs]) -> Outputs:
    """The outputs of several calls, one after the other."""
    return Outputs(*(np.concatenate(arrays) for arrays in zip(*parts)))
