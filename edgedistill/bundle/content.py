"""What a bundle is made of, before it is a folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__
from ..export.models import Exports
from ..work import atomic
from ..work.stage import Stage
from .checkset import CheckSet

if TYPE_CHECKING:
    from ..classes.class_vectors import ClassVectors
    from ..distil.student_start import Plan
    from ..labels import Labels
    from ..profiles import Profile
    from ..teacher.files import TeacherFiles

BUNDLE = 3  # raise it whenever the same draft would give another bundle: another graph, card or layout


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
class Draft:
    """Everything a bundle is made of, before its graphs are exported.

    `profile` with the budgets that count; `budget_overrides` names those that a flag changed. `golden_files`: the bytes
    of the first check images' files, at most 8. `student_folder` holds student.safetensors and student.json.
    `forced`: the precision that --precision asked for, or None. `qat`: whether int8 may cost a fine-tuning.
    `start`, `seeds`: figures before training and of each seed, or None. `skipped`: reason -> images not used.
    """

    labels: Labels
    profile: Profile
    teacher: TeacherFacts
    student: StudentFacts
    student_folder: Path
    class_vectors: ClassVectors
    check: CheckSet
    golden_files: Sequence[bytes]
    size: int
    budget_overrides: Mapping[str, Any]
    forced: str | None = None
    qat: bool = False
    start: Mapping[str, Any] | None = None
    seeds: Sequence[Mapping[str, Any]] | None = None
    skipped: Mapping[str, int]

    def identity(self, stages: Sequence[Stage]) -> str:
        """Names the build by all that its bundle holds: the stages (students, check store) that its arrays come from,
        and every fact that stands in it, true labels and what was skipped included."""
        return atomic.digest(
            {
                "edgedistill": __version__,
                "bundle": BUNDLE,
                "stages": [stage.identity for stage in stages],
                "figures": [self.start, self.seeds],
                "check_labels": hashlib.sha256(self.check.labels.tobytes()).hexdigest(),
                "check_info": asdict(self.check.info),
                "skipped": self.skipped,
                "teacher": asdict(self.teacher),
                "student": asdict(self.student),
                "prompts": [self.class_vectors.weighting, self.class_vectors.templates.name],
                "labels": self.labels.to_json(),
                "profile": self.profile.to_json(),
                "budgets": self.budget_overrides,
                "precision": [self.forced, self.qat],
            }
        )


@dataclass(frozen=True, kw_only=True)
class Content(Draft):
    """A draft with its graphs: all that `write_bundle` needs. `build_id`: the draft's identity."""

    build_id: str
    exports: Exports
