"""Images as numbers that an optimiser may change: how a picture is written down decides what it can become.

Raw pixels are the worst way: fine noise is the shortest path to any feature. Both ways here give every octave of detail
the same say, as photographs do, and begin without the fine ones where they are asked to (`detail`).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# Grey, warm against cold, green against purple: in photographs the first varies most. Unit axes times our amplitudes.
_AXES = ((1.0, 1.0, 1.0), (1.0, 0.0, -1.0), (-0.5, 1.0, -0.5))
_AMPLITUDES = (1.0, 0.5, 0.25)
_BEGIN = 0.1  # standard deviation of a fresh canvas, in logits


class PixelPyramid(nn.Module):
    """squash(Σ_r up(P_r)): pictures of sides 1, 2, 4, ... S enlarged and added (arXiv 2502.07753), all of them learned.

    The sides, colours and start are ours. `count` images of `size` pixels; values depend on `generator` alone.
    """

    def __init__(self, count: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        levels = math.ceil(math.log2(size)) + 1 if size > 1 else 1
        sides = [max(1, round(size / 2**level)) for level in reversed(range(levels))]
        self.levels = nn.ParameterList(_noise((count, 3, side, side), generator) for side in sides)

    def forward(self, detail: float = 1.0) -> Tensor:
        """float [N,3,S,S] in 0..1; `detail`, above 0 and up to 1, is the share of the levels that take part."""
        used = math.ceil(detail * len(self.levels))
        size = self.levels[-1].shape[-1]
        image = self.levels[0]
        for level in list(self.levels)[1:used]:  # from one level to the next: the sum of all costs little more than one
            image = _enlarged(image, level.shape[-1]) + level
        return squash(_enlarged(image, size))


class FourierCanvas(nn.Module):
    """The two-dimensional spectrum of each image, its coefficients scaled by 1 / frequency: as large for all octaves.

    Ours after what feature visualisation does. `count` images of `size` pixels; values depend on `generator` alone.
    """

    scale: Tensor
    frequency: Tensor

    def __init__(self, count: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        down = torch.fft.fftfreq(size, device=generator.device)[:, None]
        across = torch.fft.rfftfreq(size, device=generator.device)
        frequency = (down.square() + across.square()).sqrt()
        self.size = size
        self.spectrum = nn.Parameter(_noise((count, 3, *frequency.shape, 2), generator))
        self.register_buffer("frequency", frequency)
        self.register_buffer("scale", 1 / frequency.clamp_min(1 / size))

    def forward(self, detail: float = 1.0) -> Tensor:
        """float [N,3,S,S] in 0..1; `detail`, above 0 and up to 1, is the share of the octaves that take part."""
        finest = self.size ** (detail - 1)  # in units of the highest frequency; 1 / size is the lowest
        kept = self.scale * (self.frequency <= finest * self.frequency.max())
        spectrum = torch.view_as_complex(self.spectrum * kept[..., None])
        return squash(torch.fft.irfft2(spectrum, s=(self.size, self.size), norm="ortho"))


def squash(logits: Tensor) -> Tensor:
    """float [N,3,S,S] of any value, its channels the axes of colour, to RGB in 0..1."""
    axes = F.normalize(torch.tensor(_AXES, dtype=logits.dtype, device=logits.device), dim=1)
    to_rgb = (axes * axes.new_tensor(_AMPLITUDES)[:, None]).T * math.sqrt(3)  # [RGB, axis]; 1 on the first: grey
    return (to_rgb @ logits.flatten(2)).view_as(logits).sigmoid()


def _noise(shape: tuple[int, ...], generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(_BEGIN * torch.randn(shape, generator=generator, device=generator.device))


def _enlarged(image: Tensor, size: int) -> Tensor:
    return F.interpolate(image, size=(size, size), mode="bilinear", align_corners=False)
