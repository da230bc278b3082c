"""Vectors of length 1, as the teacher compares them."""

from __future__ import annotations

import numpy as np


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of length 1, in the precision they come in; a row of zeros stays."""
    divided: np.ndarray = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
    return divided


def unit_float32(vectors: np.ndarray) -> np.ndarray:
    """The same of rows that are kept as float16, which rounds: in float32."""
    return unit(np.asarray(vectors, np.float32))
