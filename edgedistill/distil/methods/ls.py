"""Logit standardisation (arXiv 2403.01427) as an auxiliary beside plain distillation.

    L = KL(zt ‖ zs) + weight·KL(std zt ‖ std zs; τ)        std z = (z − mean z) / standard deviation of z, row by row

The second KL compares which classes stand out and by how much in units of the row's own spread: a student whose logits
are a positive factor and a constant away from the teacher's has none of it to pay. So it throws away how sure the
teacher is, which the exported probabilities should keep: alone it is not a method here, and the plain KL beside it
restores the size. A transformer teacher with a MobileNet student lost by it, untuned (a report of users).

Ours: the plain KL (at τ = 1) in the place of the paper's cross-entropy on labels, hence `weight` = 1 as default beside
it, where the public code has 9; the standard deviation divides by C. τ = 2 and the τ² before the KL are the paper's
code.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...errors import InputError
from .base import Material, Method, State, StudentOut, TeacherOut, in_float32, kl, summed

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

EPS = 1e-4
"""Standard deviation of a row of logits below which it counts as flat: a whole class list within it says nothing."""


@dataclass(frozen=True, kw_only=True)
class LS(Method):
    """Options: `weight` of the KL of standardised logits beside a plain KL, and the temperature τ of the former."""

    name: ClassVar[str] = "ls"

    weight: float = 1.0
    tau: float = 2.0

    def check(self) -> None:
        self.above_zero("weight", hint="without it, this is --method kd")
        self.above_zero("tau", hint="2 is the default")

    def prepare(self, material: Material) -> State:
        """The head alone. Raises InputError for fewer than three classes: two standardised logits are 1 and −1
        whatever they were, and have no gradient. Warns below six."""
        count = len(material.classes.baked)
        if count < 3:
            raise InputError(f"ls needs at least three classes, the list has {count}", "Use --method kd.")
        if count < 6:
            log.warning("ls standardises rows of only %d logits: with so few classes kd says more", count)
        return State.of(material.classes)

    def loss(self, student: StudentOut, teacher: TeacherOut, state: State) -> dict[str, Tensor]:
        """Parts `kl` and `standard`, weighted, and their sum."""
        z_teacher, z_student = state.logits(in_float32(teacher.u)), state.logits(in_float32(student.g))
        standard = kl(standardised(z_teacher), standardised(z_student), self.tau, teacher.weight)
        return summed({"kl": kl(z_teacher, z_student, weight=teacher.weight), "standard": self.weight * standard})


def standardised(z: Tensor) -> Tensor:
    """[B,C] -> [B,C]: each row with mean 0 and standard deviation 1; a flat row (see EPS) stays near 0."""
    centred = z - z.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + EPS**2).sqrt()
