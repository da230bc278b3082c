"""What a bundle is made of, before it is a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..export.graph import Exports
from .checkset import CheckSet

if TYPE_CHECKING:
    from ..classes.prompts import ClassVectors
    from ..labels import Labels
    from ..profiles import Profile


@dataclass(frozen=True, kw_only=True)
class TeacherFacts:
    """The teacher as the manifest names it. `scale`: exp(logit_scale); `licence`: of its weights, or "unknown"."""

    id: str
    hash: str
    licence: str
    dim: int
    scale: float


@dataclass(frozen=True, kw_only=True)
class StudentFacts:
    """The student as the manifest names it. `weights`: where they started from, in words; `licence`: of those."""

    name: str
    weights: str
    licence: str


@dataclass(frozen=True, kw_only=True)
class Content:
    """Everything a bundle is made of.

    `profile` with the budgets that count; `budget_overrides` names those that a flag changed. `golden_files`: the bytes
    of the first check images' files, at most 8. `student_folder` holds student.safetensors and student.json.
    `start`, `seeds`: figures before training and of each seed, or None. `skipped`: reason -> images not used.
    """

    build_id: str
    labels: Labels
    profile: Profile
    teacher: TeacherFacts
    student: StudentFacts
    student_folder: Path
    class_vectors: ClassVectors
    exports: Exports
    check: CheckSet
    golden_files: Sequence[bytes]
    size: int
    budget_overrides: Mapping[str, Any]
    start: Mapping[str, Any] | None = None
    seeds: Sequence[Mapping[str, Any]] | None = None
    skipped: Mapping[str, int]
