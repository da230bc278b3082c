"""The part of every graph behind the embedding, in numpy: class vectors and the logit scale, as the bundle keeps them.

    probabilities = softmax(scale * embedding @ class_vectors)

It is float32 in every precision, so what an engine makes of its own embedding is known to a few digits.
class_vectors.safetensors is read with the standard library and numpy: eight bytes that say how long the JSON header is,
the header (each tensor's dtype, shape and place), the numbers (format of safetensors' README).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .errors import TargetError
from .manifest import REBUILD, Manifest
from .outside import as_object, parse_json, read_bytes
from .printable import line
from .safetensors_header import read_header

FILE = "class_vectors.safetensors"
MOST_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class Head:
    """vectors: float32 [C,D], what is baked into the graphs; scale: of the logits, a fitted temperature in it."""

    vectors: np.ndarray
    scale: float

    def probabilities(self, embedding: np.ndarray) -> np.ndarray:
        """float32 [N,D] -> float64 [N,C]; NaN where the embedding is not finite."""
        with np.errstate(invalid="ignore", over="ignore"):
            logits = self.scale * (embedding.astype(np.float64) @ self.vectors.T.astype(np.float64))
            raised = np.exp(logits - logits.max(axis=1, keepdims=True))
            return raised / raised.sum(axis=1, keepdims=True)


def read_head(manifest: Manifest) -> Head:
    """Of the bundle, its file checked by its hash. TargetError where it is damaged, or of other classes."""
    path = manifest.file(FILE)
    try:
        found = _parse(path)
    except (OSError, ValueError, KeyError, TypeError, ArithmeticError, RecursionError) as error:
        raise TargetError(f"{path} is damaged: {error}", REBUILD) from error
    if len(found.vectors) != (classes := len(manifest.labels)) or not found.vectors.size:
        shape = list(found.vectors.shape)
        raise TargetError(f"{path} holds class vectors {shape}, the bundle names {classes} classes", REBUILD)
    return found


def _parse(path: Path) -> Head:
    header, raw = read_header(path), read_bytes(path, MOST_BYTES)
    begin = 8 + int.from_bytes(raw[:8], "little")
    about = as_object(parse_json(header["__metadata__"]["json"].encode()))
    entry, scale = header["baked"], _number(about["scale"])
    if entry["dtype"] != "F32" or len(entry["shape"]) != 2:
        raise ValueError(f"baked is {entry['dtype']} {entry['shape']}")
    first, last = entry["data_offsets"]
    vectors = np.frombuffer(raw[begin + first : begin + last], "<f4").reshape(entry["shape"])
    if not (np.isfinite(vectors).all() and np.isfinite(scale)):
        raise ValueError("a number in it is not finite")
    return Head(vectors.astype(np.float32), scale)


def _number(value: object) -> float:
    """Of JSON: neither true nor text that looks like a number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"scale is {line(repr(value), 40)}, not a number")
    return float(value)
