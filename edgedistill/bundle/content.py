"""What a bundle is made of, before it is a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..export.graph import Exports
from ..work.stage import Stage
from .checkset import CheckSet

if TYPE_CHECKING:
    from ..classes.prompts import ClassVectors
    from ..distil.students import Plan
    from ..labels import Labels
    from ..profiles import Profile
    from ..teacher.teacher import TeacherFiles


@dataclass(frozen=True, kw_only=True)
class TeacherFacts:
    """The teacher as the manifest names it. `scale`: exp(logit_scale); `licence`: of its weights, or "unknown"."""

    id: str
    hash: str
    licence: str
    dim: int
    scale: float

    @classmethod
    def of(cls, files: TeacherFiles, scale: float) -> TeacherFacts:
        return cls(id=files.id, hash=files.weight_hash, licence=files.licence, dim=files.dim, scale=scale)


@dataclass(frozen=True, kw_only=True)
class StudentFacts:
    """The student as the manifest names it. `weights`: where they started from, in words; `licence`: of those."""

    name: str
    weights: str
    licence: str

    @classmethod
    def of(cls, plan: Plan) -> StudentFacts:
        return cls(name=plan.name, weights=plan.reason, licence=plan.licence)


@dataclass(frozen=True)
class Trained:
    """One seed's student, and how it did on the check set before (None: no such figure) and after training."""

    seed: int
    stage: Stage
    start: dict[str, Any] | None
    result: dict[str, Any]


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
