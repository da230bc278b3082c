"""The numbers of one epoch: means over its images of what the steps return, and the first step that went wrong.

On a CPU every step's numbers are read at once, and a loss that is not finite ends the run there. To read a number from
a GPU is to wait for it, so there they are added up on the GPU and read when the epoch is over; what was wrong first is
kept beside them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from .methods.base import check_finite


@dataclass(frozen=True)
class Steps:
    """The steps of one epoch: `epoch` and `count`, and how one of them is called in a message."""

    epoch: int
    count: int

    def name(self, k: int) -> str:
        """Both counted from 0, named from 1."""
        return f"epoch {self.epoch + 1}, step {k + 1} of {self.count}"


@dataclass(kw_only=True)
class SumsAtOnce:
    """Read step by step."""

    steps: Steps
    _sums: dict[str, float] = field(default_factory=dict)
    _images: int = 0

    def add(self, k: int, found: dict[str, Tensor], images: int) -> None:
        """The scalar tensors of step k of the epoch, over so many images. Raises NonFiniteLoss naming part and step."""
        for name, value in check_finite(found, self.steps.name(k)).items():
            self._sums[name] = self._sums.get(name, 0.0) + images * value
        self._images += images

    def means(self) -> dict[str, float]:
        """Over the images so far."""
        return {name: value / self._images for name, value in self._sums.items()}


@dataclass(kw_only=True)
class SumsOnGpu:
    """Kept as tensors beside what they are sums of; read by `means` alone."""

    steps: Steps
    _names: tuple[str, ...] = ()
    _images: int = 0
    _kept: Tensor | None = None
    """float64 [2n + 1]: n sums; the n numbers of the first step that had one not finite; that step, or -1."""

    def add(self, k: int, found: dict[str, Tensor], images: int) -> None:
        """The scalar tensors of step k of the epoch, over so many images; nothing is read back."""
        now = torch.stack([value.detach().float() for value in found.values()]).double()
        if self._kept is None:
            self._names = tuple(found)
            self._kept = torch.cat([now.new_zeros(2 * len(now)), now.new_full((1,), -1.0)])
        sums, wrong, step = self._kept.split([len(now), len(now), 1])
        first = (step < 0) & ~now.isfinite().all()
        this = step.new_full((1,), k)  # made on the GPU: `where` copies a plain number to it, and waits
        self._kept = torch.cat([sums + images * now, torch.where(first, now, wrong), torch.where(first, this, step)])
        self._images += images

    def means(self) -> dict[str, float]:
        """Over the images so far. Waits for the GPU. Raises NonFiniteLoss naming part and step."""
        if self._kept is None:
            return {}
        sums, wrong, step = self._kept.cpu().split([len(self._names), len(self._names), 1])
        if step >= 0:
            check_finite(dict(zip(self._names, wrong)), self.steps.name(int(step)))
        return {name: value / self._images for name, value in zip(self._names, sums.tolist())}
