"""PromptKD (arXiv 2403.02781): one set of class vectors, stored beforehand, for teacher and student.

    L = KL(softmax zt ‖ softmax zs), zt = s·u·Wᵀ, zs = s·g·Wᵀ

The text tower runs once, before any image is seen; its vectors W of all classes are frozen and serve both models, so
the student needs a projector into the teacher's space and no text tower. The scale s is the checkpoint's own, τ = 1
(the paper: 0.5 to 1 are alike, 4 loses 5 points), there is no cross-entropy, and teacher and student see the same view
(`match`).

What we do otherwise. The paper's public code divides the sum over a batch by B·C and multiplies by 1,000 (200 on some
sets), so its weight is 1000/C and its learning rate tuned for each set by that; here it is the mean over the batch, the
same for every number of classes. Its student is a frozen CLIP tower that learns prompts (`--student vit-b16-prompted`);
a MobileNet has none, so all of its weights learn. Its teacher was tuned on 16 labelled photos a class; ours is plain
CLIP unless `--few-shot` gives some: the paper's own ablation without labels (ImageNet, harmonic mean of base and new
classes, teacher 76.52, student 74.50) is the one to compare with. It keeps the best epoch by test accuracy; we keep
the last.

With plain CLIP and a convolutional student this loss is `kd` at τ = 1: what is the paper's own is what it is given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .base import Material, Method, Recipe, State, StudentOut, TeacherOut, kl, summed

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PromptKD(Method):
    """One option: the temperature τ."""

    name: ClassVar[str] = "promptkd"
    recipe: ClassVar[Recipe] = Recipe(view_targets="match")

    tau: float = 1.0

    def check(self) -> None:
        self.above_zero("tau", hint="1 is the paper's")

    def prepare(self, material: Material) -> State:
        return State.of(material.classes)

    def loss(self, student: StudentOut, teacher: TeacherOut, state: State) -> dict[str, Tensor]:
        return summed({"kl": kl(state.logits(teacher.u), state.logits(student.g), self.tau, teacher.weight)})
