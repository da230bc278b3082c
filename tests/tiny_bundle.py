"""A real bundle of a tiny student, for tests that write, read or measure one.

parts(count)                what a bundle is made of, exported once for all tests of a run
profile(name)               a shipped profile with measuring times fit for a test
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tiny_images import FOUR_CLASSES, make_photo
from torch import nn

from edgedistill.bundle.checkset import CheckInfo, CheckSet
from edgedistill.bundle.content import Content, StudentFacts, TeacherFacts
from edgedistill.bundle.manifest import GOLDEN_IMAGES
from edgedistill.classes.class_vectors import ClassVectors
from edgedistill.classes.templates import Templates
from edgedistill.distil.student import Student
from edgedistill.distil.student_files import save_student
from edgedistill.export.graph import GraphFacts, GraphSpec
from edgedistill.export.models import Exports, export_models
from edgedistill.labels import Label, Labels
from edgedistill.profiles import Profile, load_profile
from edgedistill.targets.preprocess import decode, to_pixels

SIZE, DIM, SCALE = 32, 16, 20.0
BUILD_ID = "b" * 64
TEACHER = TeacherFacts(id="local-dir:teacher", hash="c" * 64, licence="MIT", dim=DIM, scale=SCALE)
_kept = tempfile.TemporaryDirectory()


def vectors() -> ClassVectors:
    drawn = np.random.default_rng(1).normal(size=(len(FOUR_CLASSES), DIM)).astype(np.float32)
    unit = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    templates = Templates("one", ("a photo of a {}.",))
    return ClassVectors(unit, unit, np.ones(1), "uniform", "none", SCALE, FOUR_CLASSES, templates)


def profile(name: str = "cpu") -> Profile:
    board = load_profile(name)
    return replace(
        board,
        measure=replace(board.measure, warmup_s=0.0, min_s=0.1, min_queries=400, hot_c=200),
        budget=replace(board.budget, latency_p95_ms=1000.0, memory_mb=1000.0, agreement_min=0.5),
    )


def student() -> Student:
    torch.manual_seed(0)
    made = Student("test_efficientnet", DIM, size=SIZE)
    for norm in made.modules():
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            norm.running_var.uniform_(0.5, 1.5)
    return made.eval()


def photo_file(index: int) -> bytes:
    buffer = BytesIO()
    make_photo(FOUR_CLASSES[index % len(FOUR_CLASSES)], index).save(buffer, "JPEG")
    return buffer.getvalue()


@cache
def exported() -> tuple[Path, Exports]:
    """(folder with the student's two files, its exported graphs)."""
    folder = Path(_kept.name)
    save_student(folder, student(), teacher_id=TEACHER.id, teacher_hash=TEACHER.hash, size=SIZE)
    exports = export_models(
        student(),
        vectors(),
        folder / "models",
        facts=GraphFacts(labels=FOUR_CLASSES, teacher_id=TEACHER.id, build_id=BUILD_ID),
        images=pixels(GOLDEN_IMAGES),
        spec=GraphSpec(size=SIZE),
        precisions=("fp32", "fp16", "int8"),
    )
    return folder, exports


def pixels(count: int) -> np.ndarray:
    return np.stack([to_pixels(decode(photo_file(index)), SIZE) for index in range(count)])


def parts(count: int = 60, board: Profile | None = None, **changes: Any) -> Content:
    """A bundle's content with `count` check images, on which the teacher is the student itself: it agrees on all."""
    folder, exports = exported()
    images = pixels(count)
    with torch.inference_mode():
        embedding = nn.functional.normalize(student()(torch.from_numpy(images))[1], dim=-1).numpy()
    check = CheckSet(
        images=images,
        teacher=embedding,
        teacher_class=(embedding @ vectors().baked.T).argmax(1).astype(np.int64),
        labels=np.full(count, -1),
        info=CheckInfo(images=count, source="pool split"),
    )
    content = Content(
        build_id=BUILD_ID,
        labels=Labels(tuple(Label(name, (f"a {name}",)) for name in FOUR_CLASSES)),
        profile=board or profile(),
        teacher=TEACHER,
        student=StudentFacts(name="test_efficientnet", weights="from scratch", licence="none needed"),
        student_folder=folder,
        class_vectors=vectors(),
        exports=exports,
        check=check,
        golden_files=[photo_file(index) for index in range(GOLDEN_IMAGES)],
        size=SIZE,
        budget_overrides={},
        skipped={"truncated": 1},
    )
    return replace(content, **changes)
