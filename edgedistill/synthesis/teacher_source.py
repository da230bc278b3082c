"""The engine that needs the teacher alone, as a source."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..teacher.in_use import TeacherInUse
from .engine import Source
from .objective import BatchNormStatistics
from .teacher_engine import ImageRecipe, Sight, TeacherEngine


@dataclass(frozen=True)
class Memory:
    """The student's start, whose BatchNorm layers remember what photos are like. `identity`: JSON, what names it;
    `open` gives None where it remembers nothing."""

    identity: dict[str, Any]
    open: Callable[[], BatchNormStatistics | None]


def from_teacher(
    maker: TeacherInUse, class_vectors: np.ndarray, size: int | None, memory: Memory | None = None
) -> Source:
    """Images made under this teacher, whose class vectors are float32 [C,D], unit rows."""
    recipe = ImageRecipe() if size is None else ImageRecipe(size=size)
    files, compute, dtype = maker.files, maker.compute, maker.dtype
    identity = {
        "engine": "teacher",
        "teacher": files.weight_hash,
        "transform": files.transform_id,
        "dtype": dtype,
        "device": compute.device,
        "threads": compute.threads,
        "recipe": dataclasses.asdict(recipe),
        "memory": None if memory is None else memory.identity,
    }
    facts = {"engine": "teacher", "model": files.id, "licence": files.licence}

    def opened() -> TeacherEngine:
        sight = Sight.of(maker.load(dtype), class_vectors, recipe.look)
        return TeacherEngine([sight], recipe, remembered=None if memory is None else memory.open())

    return Source(identity, facts, opened)
