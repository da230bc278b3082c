"""A store that a teacher of colours made of noisy photos, and students small enough to learn it in a second."""

from __future__ import annotations

import hashlib
import io
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image

from edgedistill.distil.config import TrainConfig
from edgedistill.distil.lesson import Lesson
from edgedistill.distil.methods.base import Method
from edgedistill.distil.methods.prg import PRG
from edgedistill.distil.student import Student
from edgedistill.teacher.store import TeacherStore

SIZE, DIM, VIEWS, IMAGES = 32, 12, 5, 48
MIX = 3  # mixed views, where there are any
COLOURS = np.array([[210, 60, 50], [60, 170, 70], [60, 80, 200]])


class ColourTeacher:
    """Sees a fixed projection of an image's 2x2 mean colours."""

    id, dim, image_size = "colours", DIM, 16

    def centre(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image.resize((16, 16)))

    def encode_images(self, images: np.ndarray) -> np.ndarray:
        cells = images.reshape(-1, 2, 8, 2, 8, 3).mean(axis=(2, 4)).reshape(len(images), -1) / 255 - 0.5
        vectors = cells @ np.random.default_rng(0).normal(size=(12, DIM))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Photos:
    """Noisy photos of one colour each, as PNG bytes sorted by their hash, as a pool has them."""

    def __init__(self, count: int) -> None:
        draw, found = np.random.default_rng(7), {}
        for index in range(count):
            pixels = COLOURS[index % 3] + draw.normal(0, 25, (40, 48, 3)) + draw.normal(0, 15, 3)
            data = io.BytesIO()
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(data, "PNG")
            found[hashlib.sha256(data.getvalue()).digest()] = data.getvalue()
        self._bytes = [found[key] for key in sorted(found)]
        self.hashes = np.frombuffer(b"".join(sorted(found)), np.uint8).reshape(-1, 32)

    def __len__(self) -> int:
        return len(self._bytes)

    def read(self, row: int) -> bytes:
        return self._bytes[row]


def classes() -> tuple[Any, Any]:
    """Class vectors where the teacher puts plain colours, and a bank with two prompts that straddle them."""
    plain = np.broadcast_to(COLOURS.astype(np.uint8)[:, None, None], (3, 16, 16, 3))
    vectors = ColourTeacher().encode_images(plain)
    lean = 0.1 * np.random.default_rng(1).normal(size=vectors.shape).astype(np.float32)
    prompts = np.stack([vectors + lean, vectors - lean], axis=1)
    prompts /= np.linalg.norm(prompts, axis=-1, keepdims=True)
    weights = np.array([0.5, 0.5])
    text = np.einsum("p,cpd->cd", weights, prompts).astype(np.float32)
    bank = SimpleNamespace(vectors=prompts, scale=20.0, teacher_id="colours", teacher_hash="c0")
    return bank, SimpleNamespace(text=text, baked=text, prompt_weights=weights, scale=20.0)


def fresh_student(seed: int = 0) -> Student:
    torch.manual_seed(seed)
    return Student("resnet10t", DIM, size=SIZE, kwargs={"channels": (8, 8, 16, 16), "stem_width": 8})


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(**{"size": SIZE, "epochs": 4, "batch": 12, "dtype": "float32", "threads": 1, **changes})


def lesson(store: TeacherStore, method: Method | None = None, images: int = IMAGES) -> Lesson:
    bank, vectors = classes()
    return Lesson(store=store, rows=np.arange(images), method=method or PRG(), classes=vectors, bank=bank)
