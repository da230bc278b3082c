"""A teacher's image tower on smaller images than it was made for: half the side is about a quarter of the work."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..teacher.torchvision_ops import ensure_torchvision
from ..work.fold import fold_batch_norms, without_identities

ensure_torchvision()
from open_clip.timm_model import TimmModel  # noqa: E402
from open_clip.transformer import VisionTransformer  # noqa: E402


def small_tower(tower: nn.Module, own: int, asked: int) -> tuple[nn.Module, int]:
    """(a tower that takes images of that many pixels a side, that many): close to `asked`, at most `own`.

    tower  open_clip's image tower, made for images of `own` pixels; it stays as it is, and its weights are shared

    open_clip's vision transformer has its position embeddings resized (bicubic, as open_clip does on loading), timm's
    networks without a fixed size are taken as they are, those with `set_input_size` are told the size. A tower of
    another kind, such as a ResNet with attention pooling, is used at its own size.
    """
    if asked >= own:
        return tower, own
    if isinstance(tower, VisionTransformer):
        return _resized(tower, asked)
    if isinstance(tower, TimmModel):
        return _timm(tower, asked)
    return tower, own


def folded(tower: nn.Module, size: int) -> nn.Module:
    """The tower with its BatchNorm folded into what is before it, in its own dtype and on its device: as it never
    learns here, these layers are time alone. One without such layers is returned as it is."""
    if not any(isinstance(layer, _BatchNorm) for layer in tower.modules()):
        return tower
    own = next(tower.parameters())
    fast = fold_batch_norms(tower, torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(0)))
    without_identities(fast)
    return fast.to(own.device, own.dtype)


def _resized(tower: VisionTransformer, asked: int) -> tuple[nn.Module, int]:
    patch = tower.patch_size[0]
    side = max(1, round(asked / patch))
    small = _sharing(tower)
    positions = _resized_positions(tower.positional_embedding.detach(), tower.grid_size, side)
    small.positional_embedding = nn.Parameter(positions, requires_grad=False)
    small.grid_size = (side, side)
    small.image_size = (side * patch, side * patch)
    return small, side * patch


def _resized_positions(positions: Tensor, grid: tuple[int, int], side: int) -> Tensor:
    """[1 + rows * columns, width] -> [1 + side², width]: the first is the class token's and stays."""
    first, rest = positions[:1], positions[1:].float().T.reshape(1, -1, *grid)
    rest = F.interpolate(rest, size=(side, side), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([first, rest[0].flatten(1).T.to(positions.dtype)])


def _timm(tower: TimmModel, asked: int) -> tuple[nn.Module, int]:
    if not hasattr(tower.trunk, "set_input_size"):
        return tower, asked
    small = copy.deepcopy(tower)
    step = _patch(small.trunk)
    side = max(1, round(asked / step)) * step
    small.trunk.set_input_size(img_size=(side, side))
    return small, side


def _patch(trunk: Any) -> int:
    """What a side has to be a multiple of: a patch; 32 where the trunk says nothing of patches."""
    embedding = getattr(trunk, "patch_embed", None)
    return int(embedding.patch_size[0]) if embedding is not None else 32


def _sharing(tower: nn.Module) -> Any:
    """A copy of the module with the very same parameters."""
    return copy.deepcopy(tower, {id(value): value for value in (*tower.parameters(), *tower.buffers())})
