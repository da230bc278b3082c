"""A text bank of given vectors, for tests that need no text tower."""

from __future__ import annotations

import numpy as np

from edgedistill.classes.templates import Templates
from edgedistill.classes.text_bank import TextBank


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def make_bank(vectors: np.ndarray, scale: float = 20.0) -> TextBank:
    classes, prompts, _ = vectors.shape
    return TextBank(
        vectors=vectors,
        scale=scale,
        names=tuple(f"class {c}" for c in range(classes)),
        prompts=tuple(tuple(f"{p} class {c}" for p in range(prompts)) for c in range(classes)),
        templates=Templates("test", tuple(f"{p} {{}}" for p in range(prompts))),
        teacher_id="local-dir:test",
        teacher_hash="0" * 64,
    )
