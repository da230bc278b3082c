"""Affinity: which class fits an image, and which image of the batch fits a class (TinyCLIP, arXiv 2309.12314; CLIP-KD,
arXiv 2307.12732).

    zt = s·u·Wᵀ, zs = s·g·Wᵀ [B,C]
    L = (1/B)·Σ_i KL(softmax_c zt_i· ‖ softmax_c zs_i·) + columns·(1/C)·Σ_c KL(softmax_i zt_·c ‖ softmax_i zs_·c)

The papers take both softmaxes over image-text pairs of a batch; here the texts are the class vectors, one column each,
the same in every batch. The row part is `kd`. The column part does not see a constant added to a class's logits of all
images, and the row part does: together they hold the table of cosines from both sides. It wants a large batch.

The 1/C is the mean over columns, as 1/B is the mean over rows: each column is a distribution over images with a KL of
its own. What is never divided by C is one KL, whose sum over classes is no mean: there it would make the weight of a
row depend on the length of the class list. Here it is what keeps the column part from growing with that list.

Ours: the papers write cross-entropies. We subtract the teacher's entropy, which no gradient sees, so that a student
equal to its teacher has a loss of 0. Row weights enter the softmax over images, w_i·exp z_ic / Σ_j w_j·exp z_jc: an
image of weight 2 is there twice, one of weight 0 is not. `columns` = 1, the sum of both parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from .base import MASKED, Material, Method, State, StudentOut, TeacherOut, in_float32, kl, summed


@dataclass(frozen=True, kw_only=True)
class Affinity(Method):
    """One option: the weight of the column part."""

    name: ClassVar[str] = "affinity"

    columns: float = 1.0

    def check(self) -> None:
        self.above_zero("columns", hint="without it, this is --method kd")

    def prepare(self, material: Material) -> State:
        return State.of(material.classes)

    def loss(self, student: StudentOut, teacher: TeacherOut, state: State) -> dict[str, Tensor]:
        """Parts `rows` and `columns`, weighted, and their sum."""
        z_teacher, z_student = state.logits(in_float32(teacher.u)), state.logits(in_float32(student.g))
        columns = kl(over_images(z_teacher, teacher.weight), over_images(z_student, teacher.weight))
        return summed({"rows": kl(z_teacher, z_student, weight=teacher.weight), "columns": self.columns * columns})


def over_images(logits: Tensor, weight: Tensor | None = None) -> Tensor:
    """[B,C] -> [C,B]: logits whose softmax over the images is weighted by `weight` [B]."""
    if weight is None:
        return logits.T
    weight = weight.to(logits.dtype)
    log_weight = weight.clamp_min(torch.finfo(weight.dtype).tiny).log()
    return torch.where(weight > 0, logits.T + log_weight, MASKED)
