"""Decoupled knowledge distillation (DKD, arXiv 2203.08679), its target class being the teacher's best one.

KL between two rows of probabilities splits into two questions. With t the target class, p the teacher's and q the
student's probabilities, and p̂, q̂ the same over the other classes only, each summing to 1:

    KL(p ‖ q) = TCKD + (1 − p_t)·NCKD                  (section 3.1 of the paper)
    TCKD = KL((p_t, 1−p_t) ‖ (q_t, 1−q_t))             how sure of the target
    NCKD = KL(p̂ ‖ q̂)                                   which of the others come next

In plain KL a teacher that is sure (p_t near 1) all but silences the second question. DKD asks it at a weight of its
own: L = TCKD + β·NCKD. The paper's α, the weight of TCKD, is 1 there and here.

Ours: there are no labels, so t is the teacher's argmax, row by row, where the paper takes the label; β = 1 as default
(the paper tunes it for every pair of networks, from 0.5 to 8, beside a cross-entropy on labels); no warm-up of the
loss beside that of the learning rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import InputError
from .base import MASKED, Material, Method, State, StudentOut, TeacherOut, in_float32, mean_of_rows, summed


@dataclass(frozen=True, kw_only=True)
class DKD(Method):
    """Options of DKD: β, the weight of NCKD, and the temperature τ of both sides; as in `kd`, τ² stands before both."""

    name: ClassVar[str] = "dkd"

    beta: float = 1.0
    tau: float = 1.0

    def check(self) -> None:
        self.not_negative("beta", hint="the paper has 0.5 to 8")
        self.above_zero("tau", hint="1 is the default")

    def prepare(self, material: Material) -> State:
        """The head alone. Raises InputError for fewer than three classes: one class that is left has probability 1 on
        both sides, so NCKD is 0 whatever the student says."""
        count = len(material.classes.baked)
        if count < 3:
            raise InputError(
                f"dkd needs at least three classes, the list has {count}",
                "Use --method kd: with two classes it is the same but for the half that is always 0.",
            )
        return State.of(material.classes)

    def loss(self, student: StudentOut, teacher: TeacherOut, state: State) -> dict[str, Tensor]:
        """Parts `tckd` and `nckd`, weighted, and their sum."""
        z_teacher, z_student = state.logits(in_float32(teacher.u)), state.logits(in_float32(student.g))
        of_target, of_others, _ = decoupled(z_teacher / self.tau, z_student / self.tau)
        return summed(
            {
                "tckd": self.tau**2 * mean_of_rows(of_target, teacher.weight),
                "nckd": self.tau**2 * self.beta * mean_of_rows(of_others, teacher.weight),
            }
        )


def decoupled(z_teacher: Tensor, z_student: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """TCKD, NCKD and 1 − p_t of each row, all [B], of logits [B,C]; the target class is the teacher's best.

    All in logarithms: 1 − p_t is summed from the other classes, since for a sure teacher the subtraction has nothing
    left of it. At C = 2 NCKD is exactly 0.
    """
    log_p, log_q = z_teacher.log_softmax(-1), z_student.log_softmax(-1)
    best = log_p.argmax(-1, keepdim=True)
    is_target = torch.zeros_like(log_p, dtype=torch.bool).scatter(-1, best, True)
    target_p, target_q = log_p.gather(-1, best).squeeze(-1), log_q.gather(-1, best).squeeze(-1)
    others_p, others_q = log_p.masked_fill(is_target, MASKED), log_q.masked_fill(is_target, MASKED)
    left_p, left_q = others_p.logsumexp(-1), others_q.logsumexp(-1)
    of_target = target_p.exp() * (target_p - target_q) + left_p.exp() * (left_p - left_q)
    others_p, others_q = others_p - left_p[:, None], others_q - left_q[:, None]
    of_others = (others_p.exp() * (others_p - others_q)).sum(-1)
    return of_target, of_others, left_p.exp()
