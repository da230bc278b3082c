"""Distil the embedding alone: the student copies the teacher's unit vector and never sees the class list.

`cosine` is mean_i (1 − ⟨u_i,g_i⟩), `mse` is mean_i ‖g_i − u_i‖², which on unit vectors is twice that. Better where
classes will be added later or the pool is broad (CLIP-KD); on a narrow pool with a fixed list expect it behind
`kd` (PromptKD, arXiv 2403.02781).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from .base import Material, Method, State, StudentOut, TeacherOut, cosine_distance, in_float32, mean_of_rows

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Embedding(Method):
    """One option: which distance."""

    name: ClassVar[str] = "embedding"

    distance: Literal["cosine", "mse"] = "cosine"

    def prepare(self, material: Material) -> State:
        return State.of(material.classes)

    def loss(self, student: StudentOut, teacher: TeacherOut, state: State) -> dict[str, Tensor]:
        if self.distance == "cosine":
            distance = cosine_distance(teacher.u, student.g, teacher.weight)
        else:
            apart = (in_float32(student.g) - in_float32(teacher.u)).square().sum(-1)
            distance = mean_of_rows(apart, teacher.weight)
        return {"total": distance, self.distance: distance}
