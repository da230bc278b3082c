"""DIST: match how probabilities rise and fall together, not what they are (arXiv 2205.10536).

    L = β·inter + γ·intra        p, q [B,C]: the teacher's and the student's softmax(s·⟨·,W⟩/τ)
    inter = mean over rows i of 1 − Pearson(p_i, q_i)              one image, over the classes
    intra = mean over columns c of 1 − Pearson(p_·c, q_·c)         one class, over the images of the batch

A correlation does not see a positive factor and a constant, of a row in `inter` and of a column in `intra`: a student
need not be as sure as a much larger teacher to be without loss. `intra` wants a batch of 128 or more. Its mean is over
the columns that are there, each between 0 and 2, so its weight is the same for any C.

β = γ = 2 is the paper's as we recall it. Ours: no cross-entropy on labels beside it; τ² stands before both parts, as in
public implementations; a batch's row weights weigh the images of a column (a weighted Pearson correlation); a spread
below `EPS` counts as none.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ...errors import InputError
from .base import Material, Method, State, StudentOut, TeacherOut, in_float32, mean_of_rows, summed
from .relations import one_minus_pearson

log = logging.getLogger(__name__)

EPS = 1e-6
"""Standard deviation of probabilities below which a row or column counts as constant; float32 rounds not far below."""


@dataclass(frozen=True, kw_only=True)
class DIST(Method):
    """Options of DIST: β and γ, the weights of rows and columns (0 leaves a part out), and the temperature τ."""

    name: ClassVar[str] = "dist"

    beta: float = 2.0
    gamma: float = 2.0
    tau: float = 1.0

    def check(self) -> None:
        self.not_negative("beta", "gamma")
        self.above_zero("tau", hint="1 is the default")
        if not self.beta + self.gamma > 0:
            raise InputError("dist: beta and gamma are both 0", "Nothing is left to learn; 2 is the default of both.")

    def prepare(self, material: Material) -> State:
        """The head alone. Raises InputError for fewer than three classes: the correlation of two pairs is 1 or −1
        whatever they are, and has no gradient. Warns below six, where little of a row is left to correlate."""
        count = len(material.classes.baked)
        if count < 3:
            raise InputError(f"dist needs at least three classes, the list has {count}", "Use --method kd.")
        if count < 6:
            log.warning("dist correlates rows of only %d probabilities: with so few classes kd says more", count)
        return State.of(material.classes)

    def loss(self, student: StudentOut, teacher: TeacherOut, state: State) -> dict[str, Tensor]:
        """Parts `inter` and `intra` (those with a weight), weighted, and their sum."""
        p, q = ((state.logits(in_float32(x)) / self.tau).softmax(-1) for x in (teacher.u, student.g))
        parts = {}
        if self.beta:
            parts["inter"] = (
                self.tau**2
                * self.beta
                * mean_of_rows(one_minus_pearson(p, q, eps=EPS * p.shape[1] ** 0.5), teacher.weight)
            )
        if self.gamma:
            parts["intra"] = (
                self.tau**2 * self.gamma * one_minus_pearson(p.T, q.T, teacher.weight, EPS * len(p) ** 0.5).mean()
            )
        return summed(parts)
