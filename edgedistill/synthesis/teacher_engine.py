"""Images from the teacher alone: each is optimised until the teacher sees in it what its prompt says. No generator.

    L = −mean_k ⟨u_k, e⟩ + λ_m·CE + λ_t·TV + λ_2·‖x − ½‖² + λ_d·likeness within the class + λ_b·R_bn

over K fresh views a step. All of them pass the tower once forward and once backward; the only other network that runs
is the one whose BatchNorm statistics are matched. The terms are in objective.py; the idea comes from direct ascent
(arXiv 2502.07753) and CLIP inversion (2403.02580). To some degree such an image is an adversarial example of the
teacher that it was made under. Fresh views with noise and blur, and coarse detail first, are what is done against it
here; a second teacher can do more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..teacher.tower import Teacher
from ..teacher.unit import unit
from .augment import Augment, NoiseBank, Views
from .canvas import FourierCanvas, PixelPyramid
from .engine import seed_of
from .objective import BatchNormStatistics, cosine, cross_entropy, energy, likeness, total_variation
from .pace import Stepped, untold, wait_for
from .small_tower import folded, small_tower

if TYPE_CHECKING:
    from .prompts import Prompts

CANVASES = {"pyramid": PixelPyramid, "fourier": FourierCanvas}


@dataclass(frozen=True, kw_only=True)
class ImageRecipe:
    """How images are made; the weights are those of the loss above.

    The defaults were chosen in rough tries on the example, one seed each, by how students of such images agree with the
    teacher on the pool's photos. Pictures without a strong pull to the start's statistics and to grey are glaring.

    `size`: pixels a side of an image; `look`: of a view, which is what the passes cost;
    None is half of what the teacher sees (`half_of`)
    `views` (K) a step, `steps` an image: their product is the cost
    `coarse`: the share of the steps after which all detail takes part; it begins with a third
    """

    size: int = 128
    look: int | None = None
    views: int = 6
    steps: int = 40
    batch: int = 12
    canvas: Literal["pyramid", "fourier"] = "pyramid"
    lr: float = 0.05
    coarse: float = 0.5
    words: float = 0.1
    variation: float = 0.5
    energy: float = 3e-5
    likeness: float = 0.2
    statistics: float = 2.0
    augment: Augment = field(default_factory=Augment)


class Sight:
    """A teacher that looks at images while they are made.

    tower   takes normalised float [n,3,size,size] on its device in its dtype; its weights take no gradient
    class_vectors  [C,D] of that teacher, `scale` its logits'; `mean` and `std` are of pixels in 0..1
    """

    def __init__(
        self,
        tower: nn.Module,
        size: int,
        class_vectors: Tensor,
        scale: float,
        mean: Sequence[float],
        std: Sequence[float],
    ) -> None:
        self.tower, self.size, self.class_vectors, self.scale = tower, size, class_vectors, scale
        self.dtype = next((p.dtype for p in tower.parameters()), torch.float32)
        self._gain = 1 / class_vectors.new_tensor(std).view(3, 1, 1)
        self._offset = -self._gain * class_vectors.new_tensor(mean).view(3, 1, 1)

    @classmethod
    def of(cls, teacher: Teacher, class_vectors: np.ndarray, look: int | None) -> Sight:
        """The teacher's tower on images of about `look` pixels a side (small_tower.py), None being `half_of` its own.
        Its text tower is not used."""
        own = teacher.image_size
        tower, size = small_tower(teacher.model.visual, own, look or half_of(own))
        vectors = torch.as_tensor(class_vectors, dtype=torch.float32, device=teacher.device)
        pixels = teacher.files.preprocess
        return cls(folded(tower, size), size, vectors, teacher.scale, pixels["mean"], pixels["std"])

    def features(self, images: Tensor) -> Tensor:
        """float32 [n,D], unit rows, of images [n,3,S,S] of any size with values in 0..1."""
        return self._seen(torch.addcmul(self._offset, images, self._gain).to(self.dtype))

    def features_of_views(self, views: Views) -> Tensor:
        """float32 [N,K,D], unit rows, of K views of each of N images."""
        count, views_each = len(views.seen), views.seen.shape[2]
        return self._seen(views.pixels(self._gain, self._offset, self.dtype)).view(count, views_each, -1)

    def _seen(self, pixels: Tensor) -> Tensor:
        """float32 [n,D], unit rows, of normalised pixels [n,3,S,S]."""
        if pixels.shape[-1] != self.size:
            smaller = F.interpolate(pixels.float(), size=(self.size, self.size), mode="bilinear", antialias=True)
            pixels = smaller.to(self.dtype)
        found = self.tower(pixels.contiguous(memory_format=torch.channels_last))
        return F.normalize((found[0] if isinstance(found, tuple) else found).float(), dim=-1)

    def means(self, shares: Tensor) -> Tensor:
        """[N,D], unit rows: where an image of these classes lies, shares [N,C]."""
        return F.normalize(shares @ F.normalize(self.class_vectors, dim=-1), dim=-1)


@dataclass(frozen=True, eq=False)
class Goal:
    """What N images are to show: `targets` [N,D] for each sight, `shares` [N,C], `classes` int64 [N]."""

    targets: tuple[Tensor, ...]
    shares: Tensor
    classes: Tensor


class TeacherEngine:
    """Makes images under teachers: uint8 [n,S,S,3] for prompts whose targets lie in the first one's space.

    sights  further ones see the same views, and the target of an image in their space is its class there. So a teacher
            that labels need not be the one, or the only one, that an image was made under
    remembered  the BatchNorm statistics that images are to have, such as those of the student's start

    On a CPU: same prompts, rows, seed and threads, same bytes.
    """

    name = "teacher"

    def __init__(
        self,
        sights: Sequence[Sight],
        recipe: ImageRecipe = ImageRecipe(),
        remembered: BatchNormStatistics | None = None,
    ) -> None:
        self.sights, self.recipe, self.remembered = tuple(sights), recipe, remembered
        self.batch, self.device = recipe.batch, sights[0].class_vectors.device

    def images(self, prompts: Prompts, rows: np.ndarray, seed: int, stepped: Stepped = untold) -> np.ndarray:
        """uint8 [len(rows), S, S, 3] RGB, one for each of these rows of the prompts, made side by side."""
        generator = torch.Generator(self.device).manual_seed(seed_of(seed, *map(int, rows)))
        canvas = CANVASES[self.recipe.canvas](len(rows), self.recipe.size, generator)
        self.improve(canvas, self.goal(prompts, rows), generator, stepped)
        with torch.no_grad():
            pixels = canvas().mul(255).round().to(torch.uint8)
        return pixels.permute(0, 2, 3, 1).cpu().numpy()

    def goal(self, prompts: Prompts, rows: np.ndarray) -> Goal:
        def placed(values: np.ndarray) -> Tensor:
            return torch.as_tensor(values[rows]).to(self.device)

        shares = placed(prompts.shares)
        others = [sight.means(shares) for sight in self.sights[1:]]
        return Goal((placed(unit(prompts.targets)), *others), shares, placed(prompts.classes))

    def improve(self, canvas: nn.Module, goal: Goal, generator: torch.Generator, stepped: Stepped = untold) -> Tensor:
        """float32 [steps]: the mean cosine with the targets of all views of all images, as it was at each step."""
        recipe, seen = self.recipe, []
        noise = self._noise(len(goal.classes), generator)
        optimiser = torch.optim.Adam(canvas.parameters(), recipe.lr, fused=True)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.steps, 0.1 * recipe.lr)
        for step in range(recipe.steps):
            images = canvas(detail_at(recipe, step))
            views = recipe.augment.views(images, recipe.views, self.sights[0].size, generator, noise)
            loss, near = self.loss(images, views, goal)
            optimiser.zero_grad(set_to_none=True)  # a level that takes no part yet is left alone
            loss.backward()
            optimiser.step()
            falling.step()
            seen.append(near)
            wait_for(self.device, step + 1)
            stepped(step + 1, recipe.steps)
        return torch.stack(seen)

    def _noise(self, images: int, generator: torch.Generator) -> NoiseBank:
        """For a step's views of so many images, as the first sight takes them."""
        sight = self.sights[0]
        return NoiseBank(images * self.recipe.views * 3 * sight.size**2, sight.dtype, generator)

    def loss(self, images: Tensor, views: Views, goal: Goal) -> tuple[Tensor, Tensor]:
        """(L summed over the images [N,3,S,S], the mean cosine of their views with their targets)."""
        recipe = self.recipe
        each = recipe.variation * total_variation(images) + recipe.energy * energy(images)
        cosines = []
        for sight, targets in zip(self.sights, goal.targets):
            features = sight.features_of_views(views)
            cosines.append(cosine(features, targets))
            words = cross_entropy(features, sight.class_vectors, sight.scale, goal.shares)
            each = each + (recipe.words * words - cosines[-1]) / len(self.sights)
            each = each + recipe.likeness * likeness(features, goal.classes) / len(self.sights)
        total = each.sum()
        if self.remembered is not None and recipe.statistics:
            total = total + recipe.statistics * len(images) * self.remembered.distance(images)
        return total, torch.stack(cosines).detach().mean()


def half_of(size: int) -> int:
    """About half of these pixels, and odd: the example's teacher (193) pads for sizes that halve to odd ones."""
    return size // 2 | 1


def detail_at(recipe: ImageRecipe, step: int) -> float:
    """The share of detail that takes part at this step: from a third to all of it in `coarse` of the steps."""
    done = (step + 1) / max(1, recipe.coarse * recipe.steps)
    return min(1.0, (1 + 2 * done) / 3)
