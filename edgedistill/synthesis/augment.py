"""Many views of images that are being made: differentiable, batched, every one different.

A feature that survives them is a thing in the picture; one that a single pixel grid makes the teacher believe is not.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Augment:
    """How far views may differ. Each view draws its own values, evenly within these bounds.

    `least`: the smallest crop's side, as a share of the image's; the largest is 1
    `roll`: how far the image is moved round its edges, as a share of its side
    `turn`: rotation, degrees either way; `stretch`: log of the aspect ratio, either way
    `colour`: the change of every channel's mean, and half that of its contrast
    `noise`: the largest standard deviation of what is added; `blur`: how much of a 3 x 3 mean is mixed in, at most
    """

    least: float = 0.4
    roll: float = 0.15
    turn: float = 20.0
    stretch: float = 0.15
    colour: float = 0.15
    noise: float = 0.1
    blur: float = 1.0

    def views(self, images: Tensor, count: int, size: int, generator: torch.Generator, noise: NoiseBank) -> Views:
        """`count` views of `size` pixels a side of each of images [N,3,S,S] in 0..1."""
        n, dtype = len(images), images.dtype
        grid = grid_of(self._places(n * count, dtype, generator), size)
        seen = F.grid_sample(
            blurred(images, self.blur * _rand((n, 1, 1, 1), dtype, generator)),
            grid.view(n, count * size, size, 2),  # all views of an image as one tall picture: it need not be repeated
            mode="bilinear",
            padding_mode="reflection",
            align_corners=False,
        )
        shift, contrast = (2 * _rand((n, 3, count, 1), dtype, generator) - 1 for _ in range(2))
        gain = 1 + 0.5 * self.colour * contrast
        base = 0.5 * (1 - gain) + self.colour * shift  # contrast about mid-grey
        spread = self.noise * _rand((n * count, 1, 1, 1), dtype, generator)
        return Views(seen.view(n, 3, count, size * size), gain, base, spread, noise.draw((n * count, size, size, 3)))

    def _places(self, n: int, dtype: torch.dtype, generator: torch.Generator) -> Tensor:
        """[n, 2, 3]: for each view the affine map from its own coordinates (-1..1) to the image's."""

        def draw(low: float, high: float) -> Tensor:
            return low + (high - low) * _rand((n,), dtype, generator)

        scale = draw(self.least, 1.0)
        aspect = draw(-self.stretch, self.stretch).exp()
        angle = draw(-self.turn, self.turn) * (math.pi / 180)
        mirror = torch.where(draw(-1, 1) < 0, -1.0, 1.0)
        wide, high = scale * aspect.sqrt(), scale / aspect.sqrt()
        room_x, room_y = (1 - wide).clamp_min(0), (1 - high).clamp_min(0)
        x = draw(-1, 1) * (room_x + 2 * self.roll)
        y = draw(-1, 1) * (room_y + 2 * self.roll)
        cos, sin = angle.cos(), angle.sin()
        rows = [mirror * wide * cos, -high * sin, x, mirror * wide * sin, high * cos, y]
        return torch.stack(rows, dim=1).view(n, 2, 3)


@dataclass(frozen=True, eq=False)
class Views:
    """K views of each of N images, S pixels a side; their colours are not changed yet, and noise is not added yet.

    seen        [N,3,K,S*S], values in 0..1
    gain, base  [N,3,K,1]: a view is gain * seen + base, which need not lie in 0..1
    spread      [N*K,1,1,1]: the standard deviation of the noise
    noise       [N*K,S,S,3], of deviation 1

    So a teacher's normalisation joins the change of colour in one pass, and its dtype comes before the copy into
    another order of memory: over all views every pass counts.
    """

    seen: Tensor
    gain: Tensor
    base: Tensor
    spread: Tensor
    noise: Tensor

    def pixels(self, gain: Tensor, offset: Tensor, dtype: torch.dtype) -> Tensor:
        """[N*K,3,S,S] in `dtype`, channels last in memory, the views of an image together: gain * view + offset.

        gain and offset are [3,1,1]. The noise of the three channels is scaled by the mean of their gains.
        """
        n, _, count, _ = self.seen.shape
        size = self.noise.shape[1]
        coloured = torch.addcmul(self.base * gain + offset, self.seen, self.gain * gain).to(dtype)
        in_order = coloured.view(n, 3, count, size, size).permute(0, 2, 3, 4, 1).reshape(n * count, size, size, 3)
        noisy = torch.addcmul(in_order, self.noise.to(dtype), (self.spread * gain.mean()).to(dtype))
        return noisy.permute(0, 3, 1, 2)


class NoiseBank:
    """Normal numbers of deviation 1, drawn once and handed out from another random place each time.

    Millions of fresh ones a step would cost as much as a part of the tower. No two steps give the same pixel the same
    number, but by a chance of 1 in PLACES; within a step no number is given twice.
    """

    PLACES = 1 << 16

    def __init__(self, most: int, dtype: torch.dtype, generator: torch.Generator) -> None:
        """For at most `most` numbers at a time."""
        drawn = torch.randn(most + self.PLACES, generator=generator, device=generator.device)
        self._numbers = drawn.to(dtype)
        self._random = random.Random(generator.initial_seed())  # of Python's: a GPU need not be waited for

    def draw(self, shape: tuple[int, ...]) -> Tensor:
        """Numbers in this shape, which are not to be changed."""
        begin = self._random.randrange(self.PLACES)
        return self._numbers[begin : begin + math.prod(shape)].view(shape)


def grid_of(places: Tensor, size: int) -> Tensor:
    """[n, size, size, 2]: where in the image (-1..1) each pixel of each view lies, wrapped round its edges.

    F.affine_grid of [n, 2, 3], less the even number that brings it to -1..1. As x and y are each a part of the column
    plus a part of the row, two sums of two lines write it all.
    """
    n = len(places)
    line = (2 * torch.arange(size, dtype=places.dtype, device=places.device) + 1) / size - 1
    grid = places.new_empty(n, size, size, 2)
    for axis in range(2):
        across, down, middle = places[:, axis, :, None].unbind(dim=1)
        torch.add((down * line + middle)[:, :, None], (across * line)[:, None, :], out=grid[..., axis])
    return grid.sub_((0.5 * grid).round_(), alpha=2)


def blurred(images: Tensor, share: Tensor) -> Tensor:
    """Images [N,C,S,S] mixed with their 3 x 3 means, whose edges are repeated: `share` [N,1,1,1] is that of the means.

    Every image by its own share, once for all its views: a pass over the views would cost as much as theirs.
    """
    found: Tensor = _Blur.apply(images, share)  # type: ignore[no-untyped-call]
    return found


class _Blur(torch.autograd.Function):
    """Repeated edges make the mean a symmetric map of the pixels: so its gradient is the very same mean."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, share: Tensor) -> Tensor:
        ctx.save_for_backward(share)
        return _mixed_with_means(images, share)

    @staticmethod
    def backward(ctx: Any, *found: Tensor) -> tuple[Tensor, None]:
        (share,) = ctx.saved_tensors
        return _mixed_with_means(found[0], share), None


def _mixed_with_means(values: Tensor, share: Tensor) -> Tensor:
    sums = _with_neighbours(_with_neighbours(values, dim=-1), dim=-2)
    return sums.mul_(share / 9).addcmul_(values, 1 - share)


def _with_neighbours(values: Tensor, dim: int) -> Tensor:
    """Each value plus the one before it and the one after; at the ends itself once more."""
    size = values.shape[dim]
    sums = values.clone()
    sums.narrow(dim, 1, size - 1).add_(values.narrow(dim, 0, size - 1))
    sums.narrow(dim, 0, size - 1).add_(values.narrow(dim, 1, size - 1))
    for end in (0, size - 1):
        sums.narrow(dim, end, 1).add_(values.narrow(dim, end, 1))
    return sums


def _rand(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Numbers in 0..1."""
    return torch.rand(shape, dtype=dtype, generator=generator, device=generator.device)
