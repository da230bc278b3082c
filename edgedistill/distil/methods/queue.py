"""Distil similarities to a queue of images seen before, and never see the class list (SEED, arXiv 2101.04731).

    L = (1/B)·Σ_i KL(softmax_j ⟨u_i,Q_j⟩/τ ‖ softmax_j ⟨g_i,Q_j⟩/τ)        Q [L,D]: teacher features of past batches

Where a feature is like among other images is all that is asked of it; the queue makes that question larger than a batch
and costs L·D numbers. Good before classes are known, and as a start for a method that knows them.

The paper, as we recall it, appends the image's own teacher feature to Q, has a temperature for each side (the teacher's
far sharper), and a queue of 65,536 that begins with noise. Ours: past features only; one τ = 0.07 for both sides, so
that a student equal to its teacher has no loss; a queue that begins empty, the places not yet filled being left out,
so the very first step learns nothing. A row of weight 0 takes a place in the queue and is left out there, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ...errors import InputError
from .base import MASKED, Material, Method, State, StudentOut, TeacherOut, in_float32, kl

LEAST, MOST = 16, 8192
"""Bounds of the default length."""


@dataclass(frozen=True, kw_only=True)
class QueueState(State):
    """A ring: `features` float32 [L,D], unit rows; `there` bool [L], the places that count; `place` int64 [], where the
    next batch goes."""

    moving: ClassVar[tuple[str, ...]] = ("features", "there", "place")

    features: Tensor
    there: Tensor
    place: Tensor


@dataclass(frozen=True, kw_only=True)
class Queue(Method):
    """Options: the temperature τ of both sides, and the queue's length (None: half of the pool, from 16 to 8192)."""

    name: ClassVar[str] = "queue"

    tau: float = 0.07
    length: int | None = None

    def check(self) -> None:
        self.above_zero("tau", hint="0.07 is the default")
        if self.length is not None and self.length < 2:
            raise InputError(f"queue: length is {self.length}", "It must be at least 2: one is always the most alike.")

    def prepare(self, material: Material) -> QueueState:
        """An empty queue."""
        length = self.length or min(MOST, max(LEAST, len(material.rows) // 2))
        return QueueState.of(
            material.classes,
            features=torch.zeros(length, material.classes.baked.shape[1]),
            there=torch.zeros(length, dtype=torch.bool),
            place=torch.zeros((), dtype=torch.int64),
        )

    def loss(self, student: StudentOut, teacher: TeacherOut, state: QueueState) -> dict[str, Tensor]:
        """One part, `queue`. 0 and without gradient while the queue is empty."""
        of_teacher, of_student = (self._similarities(x, state) for x in (teacher.u, student.g))
        part = kl(of_teacher, of_student, weight=teacher.weight)
        return {"total": part, "queue": part}

    def _similarities(self, unit: Tensor, state: QueueState) -> Tensor:
        """[B,D] -> [B,L], divided by τ."""
        unit = in_float32(unit)
        return (unit @ state.features.to(unit.dtype).T / self.tau).masked_fill(~state.there, MASKED)

    def advance(self, student: StudentOut, teacher: TeacherOut, state: QueueState) -> None:
        """The batch takes the places of the oldest; of a batch longer than the queue, its last rows do."""
        length = len(state.features)
        newest = in_float32(teacher.u)[-length:].to(state.features.dtype)
        places = (state.place + torch.arange(len(newest), device=newest.device)) % length
        state.features.index_copy_(0, places, newest)
        there = torch.ones_like(places, dtype=torch.bool) if teacher.weight is None else teacher.weight[-length:] > 0
        state.there.index_copy_(0, places, there)
        state.place.add_(len(newest)).remainder_(length)
