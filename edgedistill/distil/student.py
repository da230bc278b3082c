"""The student: a timm backbone, and a projector from its features into the teacher's text-image space.

One student has no timm backbone: PromptKD's own, a frozen CLIP with tokens that learn (prompted_tower.py).

    image uint8 [N,S,S,3] RGB -> f [N,d] pooled feature -> h [N,D] projected, not yet normalised

Nothing is pickled, and no pickle that holds more than weights is read.
"""

from __future__ import annotations

import pickle
import struct
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, cast

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ..errors import InputError
from ..targets.error_lines import first_line, last_line
from ..teacher.torchvision_ops import ensure_torchvision
from .prompted_tower import PromptedTower, prompted_tower
from .student_card import PROMPTED, Layout, Pixels

ensure_torchvision()
import timm  # noqa: E402

# What a damaged file makes torch.load raise, by where the damage is.
_UNREADABLE = (
    SafetensorError, OSError, EOFError, RuntimeError, ValueError, LookupError, AttributeError, TypeError,
    AssertionError, ArithmeticError, MemoryError, struct.error, pickle.UnpicklingError,
)  # fmt: skip


class Student(nn.Module):
    """timm `name` without its classifier, then Linear(d,hidden) -> BN -> ReLU -> Linear(hidden,dim) (depth 2).

    Two layers beat one and three in PromptKD's ablation (arXiv 2403.02781); `layout` asks for others. The BN before
    the last Linear keeps |h| from drifting: the loss sees only h/|h|, so a growing |h| would shrink every step.
    `mean` and `std` are of pixels in 0..1, timm's for this network unless `see_as` changes them. `width` is d, found by
    a forward pass at `size` (timm's `num_features` is not it for every network). `weights` is a file of timm's.
    `pretrained` says whether what trains in the backbone was learned somewhere: training is gentler with that, and
    holds its BatchNorm statistics.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        dim: int,
        *,
        size: int = 224,
        kwargs: dict[str, Any] | None = None,
        layout: Layout | None = None,
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        self.name, self.dim, self.kwargs = name, dim, dict(kwargs or {})
        self.pretrained = weights is not None and name != PROMPTED  # a frozen tower's tokens are fresh
        self.backbone = _backbone(name, self.kwargs, weights)
        self.width = _width(self.backbone, name, size)
        self.depth: Literal[1, 2] = layout.depth if layout else 2
        self.hidden = layout.hidden if layout else dim
        self.projector = projector(self.width, dim, self.depth, self.hidden)
        preprocessing = _config(self.backbone)
        self.register_buffer("mean", torch.tensor(preprocessing["mean"]), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing["std"]), persistent=False)

    def see_as(self, pixels: Pixels) -> None:
        """Normalise images by these values from now on."""
        self.mean.copy_(torch.tensor(pixels.mean))
        self.std.copy_(torch.tensor(pixels.std))

    def requires_grad_(self, requires_grad: bool = True) -> Student:
        """As torch's, but a frozen tower never takes a gradient."""
        super().requires_grad_(requires_grad)
        if isinstance(self.backbone, PromptedTower):
            self.backbone.freeze()
        return self

    def normalise(self, image: Tensor) -> Tensor:
        """uint8 [N,S,S,3] -> float32 [N,3,S,S], channels last in memory. Cast first: TensorRT takes no other order."""
        pixels = image.float().permute(0, 3, 1, 2) / 255
        return (pixels - self.mean[:, None, None]) / self.std[:, None, None]

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        f = self.backbone(self.normalise(image))
        return f, self.projector(f)


def projector(width: int, dim: int, depth: Literal[1, 2], hidden: int) -> nn.Sequential:
    """[.,width] -> [.,dim]; one Linear (depth 1), or two with BN and ReLU between them."""
    if depth == 1:
        return nn.Sequential(nn.Linear(width, dim))
    return nn.Sequential(nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, dim))


def _backbone(name: str, kwargs: dict[str, Any], weights: Path | None) -> nn.Module:
    if name == PROMPTED:
        return _prompted(kwargs, weights)
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=3, cutoff=0.5)
        raise InputError(
            f"timm {timm.__version__} has no model {name!r}",
            f"Did you mean {', '.join(near)}?" if near else "In Python, timm.list_models() names them all.",
        )
    try:
        if weights is None:
            return cast(nn.Module, timm.create_model(name, num_classes=0, **kwargs))
        return with_weights(name, weights, num_classes=0, **kwargs)
    except (TypeError, AssertionError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        raise InputError(
            f"timm cannot build {name!r} with {kwargs}: {error}", "Choose another --student, or correct its kwargs."
        ) from error


def _prompted(kwargs: dict[str, Any], weights: Path | None) -> PromptedTower:
    """The tower of a CLIP's weights file, or with random weights. Raises InputError naming the file."""
    if weights is None:
        return prompted_tower(kwargs)
    remedy = "Fetch the file again, or name another CLIP with --student-weights."
    try:
        return prompted_tower(kwargs, _read_published(weights))
    except InputError as error:
        raise InputError(error.wrong, remedy) from error
    except RuntimeError as error:
        raise InputError(f"{weights} is not the tower of its CLIP: {last_line(error)}", remedy) from error


def with_weights(name: str, weights: Path, **kwargs: Any) -> nn.Module:
    """timm's `name` with the weights of a file that timm published. Raises InputError naming the file."""
    overlay = {"state_dict": _read_published(weights)}
    try:
        network = timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **kwargs)
    except (RuntimeError, KeyError) as error:
        raise InputError(f"{weights} is not the network {name}: {last_line(error)}", _fetch_again(weights)) from error
    _config(network).pop("state_dict", None)  # a second copy of the weights, that every copy of the student would carry
    return cast(nn.Module, network)


def _read_published(weights: Path) -> dict[str, Tensor]:
    """The tensors of a hub file, by name; of a pickle, tensors are all that is read. Raises InputError naming it."""
    try:
        state = timm.models.load_state_dict(str(weights), weights_only=True).items()
    except _UNREADABLE as error:
        if weights.suffix == ".safetensors":
            raise InputError(f"{weights} is damaged: {last_line(error)}", _fetch_again(weights)) from error
        # torch's own message advises to read it without the guard.
        raise InputError(
            f"{weights} is damaged, or holds more than weights and could run code when read", _fetch_again(weights)
        ) from error
    for name, value in state:
        if not isinstance(name, str) or not isinstance(value, Tensor) or not torch.isfinite(value).all():
            raise InputError(f"{weights} holds something else than finite numbers: {name}", _fetch_again(weights))
    return dict(state)


def _fetch_again(weights: Path) -> str:
    cached = next((folder for folder in weights.parents if folder.name.startswith("models--")), weights)
    return f"Delete {cached} so that it is fetched again, or give --student-weights none."


def _config(backbone: nn.Module) -> dict[str, Any]:
    """timm's description of the weights: mean, std, input size."""
    return cast("dict[str, Any]", backbone.pretrained_cfg)


@torch.no_grad()
def _width(backbone: nn.Module, name: str, size: int) -> int:
    """d, by a forward pass of one grey image at the size the student will run at."""
    training = backbone.training
    try:
        out = backbone.eval()(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError, LookupError, TypeError, AttributeError) as error:
        wants = _config(backbone).get("input_size", ("?",))[-1]
        raise InputError(
            f"student {name!r} does not take {size} px images: {first_line(error)}",
            f"It was made for {wants} px: try --input-size {wants}, or another --student.",
        ) from error
    finally:
        backbone.train(training)
    if out.ndim != 2:
        raise InputError(
            f"student {name!r} gives features of shape {list(out.shape)}, not one vector an image",
            "Choose a student that pools its features: any of timm's classification networks.",
        )
    return int(out.shape[1])
