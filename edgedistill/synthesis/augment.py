"""Many views of images that are being made: differentiable, batched, every one different.

A feature that survives them is a thing in the picture; one that a single pixel grid makes the teacher believe is not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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

    def views(self, images: Tensor, count: int, size: int, generator: torch.Generator) -> Tensor:
        """[count * N, 3, size, size], view after view, from images [N,3,S,S] in 0..1; not clamped to 0..1.

        Channels last in memory, as convolutions like it: made so once, where the views are put in order.
        """
        n = len(images)
        grid = self._grid(n * count, size, generator).to(images.dtype)
        # All views of an image as one tall picture: the images need not be repeated.
        tall = grid.view(count, n, size, size, 2).transpose(0, 1).reshape(n, count * size, size, 2)
        seen = F.grid_sample(
            self._blurred(images, generator), tall, mode="bilinear", padding_mode="reflection", align_corners=False
        )
        seen = seen.view(n, 3, count, size, size).permute(2, 0, 3, 4, 1).reshape(count * n, size, size, 3)
        return self._coloured(seen.permute(0, 3, 1, 2), generator)

    def _grid(self, n: int, size: int, generator: torch.Generator) -> Tensor:
        """[n, size, size, 2]: where in the image (-1..1) each pixel of each view lies, wrapped round its edges."""

        def draw(low: float, high: float) -> Tensor:
            return low + (high - low) * torch.rand(n, generator=generator, device=generator.device)

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
        theta = torch.stack(rows, dim=1).view(n, 2, 3)
        grid = F.affine_grid(theta, [n, 3, size, size], align_corners=False)
        return torch.remainder(grid + 1, 2) - 1

    def _blurred(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Every image by its own share, once for all its views: a pass over the views would cost as much as theirs."""
        share = self.blur * _rand(images, generator)
        return images + share * (F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False) - images)

    def _coloured(self, seen: Tensor, generator: torch.Generator) -> Tensor:
        shift, contrast = (2 * _rand(seen, generator, channels=3) - 1 for _ in range(2))
        gain = 1 + 0.5 * self.colour * contrast
        shape = (len(seen), *seen.shape[2:], 3)
        noise = torch.randn(shape, generator=generator, device=generator.device).to(seen.dtype).permute(0, 3, 1, 2)
        coloured = torch.addcmul(0.5 * (1 - gain) + self.colour * shift, seen, gain)  # about mid-grey
        return coloured.addcmul(self.noise * _rand(seen, generator), noise)


def _rand(images: Tensor, generator: torch.Generator, channels: int = 1) -> Tensor:
    """[n, channels, 1, 1]: numbers in 0..1."""
    shape = (len(images), channels, 1, 1)
    return torch.rand(shape, generator=generator, device=generator.device).to(images.dtype)
