"""Plain knowledge distillation: KL between the teacher's and the student's class probabilities; the baseline.

Both sides are softmax(s·⟨·,W⟩/τ) with the teacher's own scale s, so τ = 1 is already sharp. With CLIP's scale τ is a
real hyper-parameter (the small-logit argument for τ² does not hold at a logit spread of 3 and more). A cosine term on
the embeddings may be added; PromptKD (arXiv 2403.02781, table on losses) found KL far ahead of feature losses on a
fixed list of classes, CLIP-KD the reverse on broad pools, and the sum is a safe choice between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .base import Material, Method, State, StudentOut, TeacherOut, cosine_distance, kl, summed

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class KD(Method):
    """Options of plain distillation: temperature τ, and the weight of 1 − ⟨u,g⟩ (0: none)."""

    name: ClassVar[str] = "kd"

    tau: float = 1.0
    cosine: float = 0.0

    def check(self) -> None:
        self.above_zero("tau", hint="1 is the default")
        self.not_negative("cosine")

    def prepare(self, material: Material) -> State:
        return State.of(material.classes)

    def loss(self, student: StudentOut, teacher: TeacherOut, state: State) -> dict[str, Tensor]:
        parts = {"kl": kl(state.logits(teacher.u), state.logits(student.g), self.tau, teacher.weight)}
        if self.cosine:
            parts["cosine"] = self.cosine * cosine_distance(teacher.u, student.g, teacher.weight)
        return summed(parts)
