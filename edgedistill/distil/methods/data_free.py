"""Data-free distillation: the loss for images that were made from prompts (arXiv 2407.15155). Our reading of it.

Only the paper's abstract is public to us: images are synthesised from diversified text prompts, then CLIP is distilled
into a compact student. That the teacher's probabilities of the finished image are the target, and not the prompt's
class, and all weights are our choices:

    L = KL(softmax zt ‖ softmax zs) + λ_e·(1 − ⟨u, g⟩) + λ_c·CE(c, zs) where teacher and prompt agree
        + λ_a·KL over the batch axis

The second part is the embedding's. Without it the student learns what tells the classes apart in images that were made,
and leaves the teacher's space on photos. c is the class in the image's prompt, from the store's row facts; a row whose
prompt is not known, and every photo, has no such term, so that synthetic and real images may stand in one pool. Rows
are weighted by the store's weights (how far teacher and prompt agree). The last part asks which images of the batch fit
a class best; its λ_a is 0 unless asked for, since it did not help in the trials below.

The recipe is gentle with a start that knows the teacher: images that were made are no photos, and a projector that
follows them far, or takes over their statistics, forgets what it knew of photos. So what is kept lies between the
start's weights and those of training (WiSE-FT, arXiv 2109.01903), and it matters little how long that was; where photos
train, too, all of what they teach is kept (line.py). Weights, rate and norm were chosen in rough trials that no command
here repeats, by how students of such images agreed with the teacher on photos of the example's pool; the interpolation
on these and on the pools of PACS: the closer images come to photos, the nearer to training it may lie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch.nn.functional as F

from ...errors import InputError
from .base import (
    Material,
    Method,
    Recipe,
    State,
    StudentOut,
    TeacherOut,
    cosine_distance,
    kl,
    kl_over_batch,
    mean_of_rows,
    summed,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class DataFree(Method):
    """Options: λ_e (`embedding`), λ_c (`prompt`) and λ_a (`affinity`), each 0 or more, and the KL's temperature τ.

    photos_prior: how many photos the BatchNorm statistics of the start count as where real ones lie beside the images:
    0 leaves them as they came, 16 is what Schneider et al. take (photo_statistics.py). Moving them did harm where it
    was tried.
    """

    name: ClassVar[str] = "data-free"
    recipe: ClassVar[Recipe] = Recipe(fitted_head_lr=3e-4, norm="held", fitted_interpolation=0.4)

    embedding: float = 10.0
    prompt: float = 0.1
    affinity: float = 0.0
    tau: float = 1.0
    photos_prior: int = 0

    def check(self) -> None:
        self.not_negative("embedding", "prompt", "affinity", "photos_prior")
        self.above_zero("tau", hint="1 is the default")

    def prepare(self, material: Material) -> State:
        """Raises InputError where a row's prompt class is not on the list."""
        facts = material.store.facts
        count = len(material.classes.text)
        if facts is not None and facts.prompt_class.max(initial=-1) >= count:
            raise InputError(
                f"an image was made for class number {facts.prompt_class.max()}, the list has {count}",
                "Make the images anew for this list of classes.",
            )
        return State.of(material.classes)

    def loss(self, student: StudentOut, teacher: TeacherOut, state: State) -> dict[str, Tensor]:
        """Parts `kl`, `embedding`, `prompt`, `affinity` (those with a weight), each already weighted, and their sum."""
        zt, zs = state.logits(teacher.u), state.logits(student.g)
        parts = {"kl": kl(zt, zs, self.tau, teacher.weight)}
        if self.embedding:
            parts["embedding"] = self.embedding * cosine_distance(teacher.u, student.g, teacher.weight)
        if self.prompt and teacher.prompt_class is not None:
            made_for = teacher.prompt_class
            agree = zt.argmax(-1) == made_for
            each = F.cross_entropy(zs, made_for.clamp_min(0), reduction="none") * agree
            parts["prompt"] = self.prompt * mean_of_rows(each, teacher.weight)
        if self.affinity:
            parts["affinity"] = self.affinity * kl_over_batch(zt, zs, teacher.weight)
        return summed(parts)
