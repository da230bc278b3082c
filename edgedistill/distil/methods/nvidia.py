"""The recipe of NVIDIA-AI-IOT/clip-distillation, as far as it goes here: regress the embedding on one centre crop.

    L = (1/(B·D))·Σ_i Σ_k distance(h_ik, ℓ·u_ik)     distance: squared (mse), absolute (l1) or Huber's at 1 (huber)

Here so that both can be compared on the same photos. Of its script: the distance of the student's output itself, which
is not normalised; Adam at 3e-4 without weight decay, 50 epochs, batches of 64, the centre crop of every photo and no
augmentation; no class list. The mean over D is part of it. What the user asks for (epochs, batch) wins.

Not as there:

- It regresses the teacher's raw embedding, whose length is the teacher's own. Our store keeps unit features, so this
  regresses those at one length for all photos, ℓ (`length`). With ℓ = 1 a start whose outputs are longer is first
  taught to shrink them, and forgets directions on the way. Numbers stay below 1 nearly always, where huber is half of
  mse.
- The learning-rate schedule is ours (warm-up, then a cosine to 0), where there the rate is constant; so are the clipped
  gradient, the moving average that is kept, BatchNorm's statistics (config.py), and the projector, where there timm's
  own last layer has D outputs. Quantisation-aware training and 2:4 sparsity, which it can do, are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch.nn.functional as F

from .base import Material, Method, Recipe, State, StudentOut, TeacherOut, in_float32, mean_of_rows

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Nvidia(Method):
    """Which distance of h [B,D] and ℓ·u [B,D], and ℓ, ours: about as long as the start's outputs, and as embeddings of
    CLIP's ViT-B/32 before they are normalised."""

    name: ClassVar[str] = "nvidia"
    recipe: ClassVar[Recipe] = Recipe(lr=3e-4, head_lr=3e-4, weight_decay=0.0, epochs=50, batch=64, views=1)

    distance: Literal["mse", "l1", "huber"] = "mse"
    length: float = 10.0

    def check(self) -> None:
        self.above_zero("length")

    def prepare(self, material: Material) -> State:
        return State.of(material.classes)

    def loss(self, student: StudentOut, teacher: TeacherOut, state: State) -> dict[str, Tensor]:
        """One part, named like the distance."""
        h, u = in_float32(student.h), self.length * in_float32(teacher.u)
        if self.distance == "mse":
            each = F.mse_loss(h, u, reduction="none")
        elif self.distance == "l1":
            each = F.l1_loss(h, u, reduction="none")
        else:
            each = F.huber_loss(h, u, reduction="none")
        part = mean_of_rows(each.mean(-1), teacher.weight)
        return {"total": part, self.distance: part}
