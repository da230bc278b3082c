"""The engine that needs the teacher alone, as a source."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..teacher.in_use import TeacherInUse
from .engine import Source
from .teacher_engine import Recipe, Sight, TeacherEngine


def from_teacher(maker: TeacherInUse, class_vectors: np.ndarray, size: int | None) -> Source:
    """Images made under this teacher, whose class vectors are float32 [C,D], unit rows."""
    recipe = Recipe() if size is None else Recipe(size=size)
    files, compute, dtype = maker.files, maker.compute, maker.dtype()
    identity = {
        "engine": "teacher",
        "teacher": files.weight_hash,
        "transform": files.transform_id,
        "dtype": dtype,
        "device": compute.device,
        "threads": compute.threads,
        "recipe": dataclasses.asdict(recipe),
    }
    facts = {"engine": "teacher", "model": files.id, "licence": files.licence}
    return Source(
        identity, facts, lambda: TeacherEngine([Sight.of(maker.load(dtype), class_vectors, recipe.look)], recipe)
    )
