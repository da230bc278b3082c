"""PromptSRC: tune a CLIP's prompts on a few labelled photos, held back from forgetting what it knew (arXiv 2307.06948).

It is stage 1 of PromptKD (arXiv 2403.02781, section 3.1), which distils what is tuned here. Four tokens learn at each
of the first 9 layers of both towers, whose weights never change; in the text tower the first four stand for "a photo
of a". With u, T the prompted features of images and classes, u⁰, T⁰ the frozen ones (T⁰ over all templates), all of
unit length, and z = s·u·Tᵀ, z⁰ = s·u⁰·T⁰ᵀ:

    L = CE(z, y) + 25·mean|T − T⁰| + 10·mean|u − u⁰| + Σ KL(softmax z⁰ ‖ softmax z) / (B·C)

20 epochs of SGD in batches of 8, learning rate 0.005. What is kept is no epoch's prompts but the mean of all, weighted
by a Gaussian over the epochs around the 15th with a spread of 1. Momentum 0.9, weight decay 5e-4, the first epoch at
1e-5 and a cosine after it are those that PromptKD states for its stage 2: our choice here, as of the spread 0.02 that
tokens without a word to start from are drawn with.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ..errors import InputError
from ..targets.outside import Unfit
from ..targets.safetensors_header import read_header
from ..work import atomic
from ..work.console import SILENT, Progress
from ..work.plain_path import plain_path
from .deep_prompts import image_features, takes_prompts, text_features
from .torchvision_ops import ensure_torchvision

ensure_torchvision()
import open_clip  # noqa: E402

if TYPE_CHECKING:
    from .tower import Teacher

PROMPT = "a photo of a {}."
TOKENS = 4  # as many as the words of PROMPT before the name
SPREAD = 0.02
WARM_UP_RATE = 1e-5


@dataclass(frozen=True, kw_only=True)
class PromptRecipe:
    """How prompts are tuned. `depth`: layers of each tower, at most as many as it has; `text` and `image` weigh the two
    L1 terms; `mean` and `std` are of the Gaussian over the epochs, counted from 1."""

    depth: int = 9
    text: float = 25.0
    image: float = 10.0
    epochs: int = 20
    batch: int = 8
    lr: float = 0.005
    momentum: float = 0.9
    weight_decay: float = 5e-4
    mean: float = 15.0
    std: float = 1.0

    def rate(self, epoch: int) -> float:
        """Of epoch 0, 1, ...: a warm-up epoch, then a cosine."""
        return WARM_UP_RATE if epoch == 0 else self.lr * (1 + math.cos(math.pi * epoch / self.epochs)) / 2

    def shares(self) -> np.ndarray:
        """float64 [epochs], sum 1: how much each epoch's prompts count in the mean of all."""
        height = -((np.arange(1, self.epochs + 1) - self.mean) ** 2) / (2 * self.std**2)
        raised = np.exp(height - height.max())
        return raised / raised.sum()


@dataclass(frozen=True, eq=False)
class Frozen:
    """What the CLIP gave before: text float32 [C,D] and image [B,D], unit rows, and logits [B,C]."""

    text: Tensor
    image: Tensor
    logits: Tensor


@dataclass(frozen=True, eq=False)
class TunedPrompts:
    """text and image: float32 [layers,4,width] on the CPU; classes: float32 [C,D], the unit class vectors they give."""

    text: Tensor
    image: Tensor
    classes: np.ndarray

    @property
    def digest(self) -> str:
        """Of the image prompts: what a feature depends on."""
        return hashlib.sha256(self.image.contiguous().numpy().tobytes()).hexdigest()

    def save(self, path: Path) -> None:
        tensors = {"text": self.text, "image": self.image, "classes": torch.from_numpy(self.classes)}
        atomic.write_bytes(path, save({name: value.contiguous() for name, value in tensors.items()}))

    @classmethod
    def load(cls, path: Path) -> TunedPrompts:
        """Reads what `save` wrote. Raises InputError where it is damaged."""
        try:
            read_header(path)
            with plain_path(path) as plain:
                found = load_file(plain)
            return cls(text=found["text"], image=found["image"], classes=found["classes"].numpy())
        except (SafetensorError, OSError, KeyError, Unfit) as error:
            raise InputError(f"{path} is damaged: {error}", "Run the same command: it is made again.") from error


class PromptedClip:
    """A teacher's two towers with prompts that learn. `text` and `image` are leaves that take a gradient.

    Raises InputError where its towers are not open_clip's own transformers, and ValueError for a teacher that computes
    in another dtype than float32.
    """

    def __init__(self, teacher: Teacher, names: Sequence[str], depth: int) -> None:
        clip = teacher.model
        towers = [getattr(clip, "transformer", None), getattr(clip.visual, "transformer", None)]
        if type(clip) is not open_clip.CLIP or not all(hasattr(t, "resblocks") and takes_prompts(t) for t in towers):
            raise InputError(
                f"the towers of {teacher.id} take no prompt tokens: they are not open_clip's plain transformers",
                "Use a CLIP of the kind ViT-B-16, or tune the class vectors alone.",
            )
        if teacher.dtype != "float32":
            raise ValueError(f"prompts are tuned in float32, not in {teacher.dtype}")
        self.teacher, self.clip, self.scale = teacher, clip, teacher.scale
        self.ids = teacher.tokens([PROMPT.format(name) for name in names])
        words = clip.token_embedding(self.ids[:1, 1 : 1 + TOKENS]).detach()
        self.text = _drawn(clip.transformer, depth, teacher.device)
        self.text[:1] = words
        self.image = _drawn(clip.visual.transformer, depth, teacher.device)
        for prompts in self.parameters():
            prompts.requires_grad_()

    def parameters(self) -> list[Tensor]:
        return [self.text, self.image]

    def class_vectors(self) -> Tensor:
        """float32 [C,D], unit rows."""
        return F.normalize(text_features(self.clip, self.ids, self.text), dim=-1)

    def images(self, pixels: Tensor) -> Tensor:
        """float32 [N,3,S,S] normalised -> [N,D], unit rows."""
        return F.normalize(image_features(self.clip.visual, pixels, self.image), dim=-1)

    @torch.no_grad()
    def frozen(self, pixels: Tensor, text: Tensor) -> Frozen:
        """What the towers give without prompts; `text` are the frozen class vectors."""
        image = F.normalize(self.clip.encode_image(pixels), dim=-1)
        return Frozen(text, image, self.scale * image @ text.T)


def losses(
    image: Tensor, text: Tensor, labels: Tensor, scale: float, frozen: Frozen, recipe: PromptRecipe
) -> dict[str, Tensor]:
    """Parts `ce`, `text`, `image`, `kl`, each already weighted, and `total`; unit features [B,D] and [C,D], int64 [B].

    The KL is divided by B·C, as the paper's code does: it counts less the more classes there are.
    """
    logits = scale * image @ text.T
    log_q, log_p = F.log_softmax(logits, -1), F.log_softmax(frozen.logits, -1)
    parts = {
        "ce": F.cross_entropy(logits, labels),
        "text": recipe.text * (text - frozen.text).abs().mean(),
        "image": recipe.image * (image - frozen.image).abs().mean(),
        "kl": F.kl_div(log_q, log_p, reduction="sum", log_target=True) / logits.numel(),
    }
    return {"total": torch.stack(list(parts.values())).sum(), **parts}


def tune_prompts(
    teacher: Teacher,
    photos: np.ndarray,
    labels: np.ndarray,
    names: Sequence[str],
    text: np.ndarray,
    *,
    seed: int = 0,
    recipe: PromptRecipe | None = None,
    progress: Progress = SILENT,
) -> TunedPrompts:
    """Tune both towers' prompts; the teacher itself stays as it is.

    photos: uint8 [K,V,S,S,3], V crops of each at the teacher's size, of which an epoch shows one, mirrored by a coin;
    labels: int64 [K], indices of `names` [C]; text: float32 [C,D], unit, the frozen class vectors over the templates.
    On a CPU the same arguments and thread count give the same prompts; torch's own random state is left as it was.
    """
    recipe = recipe or PromptRecipe()
    draw = np.random.default_rng([seed, 4])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        prompted = PromptedClip(teacher, names, recipe.depth)
    frozen_text = torch.from_numpy(text).to(teacher.device)
    optimiser = torch.optim.SGD(
        prompted.parameters(), lr=recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay
    )
    kept = [torch.zeros_like(prompts, requires_grad=False) for prompts in prompted.parameters()]
    progress.start("prompts", recipe.epochs * len(photos))
    for epoch, share in enumerate(recipe.shares()):
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate(epoch)
        for rows in _batches(draw.permutation(len(photos)), recipe.batch):
            shown = photos[rows, draw.integers(photos.shape[1], size=len(rows))]
            mirrored = draw.random(len(rows)) < 0.5
            shown = np.where(mirrored[:, None, None, None], shown[:, :, ::-1], shown)
            pixels = teacher.normalised(shown)
            truth = torch.from_numpy(labels[rows]).to(teacher.device)
            before = prompted.frozen(pixels, frozen_text)
            found = losses(prompted.images(pixels), prompted.class_vectors(), truth, prompted.scale, before, recipe)
            optimiser.zero_grad(set_to_none=True)
            found["total"].backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            progress.advance(len(rows))
        for mean, prompts in zip(kept, prompted.parameters()):
            mean += float(share) * prompts.detach()
    progress.done()
    prompted.text, prompted.image = kept
    with torch.inference_mode():
        classes = teacher.finite(prompted.class_vectors().cpu().numpy(), "text")
    return TunedPrompts(text=kept[0].cpu(), image=kept[1].cpu(), classes=classes)


def _drawn(transformer: Any, depth: int, device: torch.device) -> Tensor:
    layers = min(depth, len(transformer.resblocks))
    return (SPREAD * torch.randn(layers, TOKENS, transformer.width)).to(device)


def _batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [order[start : start + size] for start in range(0, len(order), size)]
