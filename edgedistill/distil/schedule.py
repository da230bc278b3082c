"""What changes from step to step: learning rate, blend of views, decay of the moving average; plain arithmetic.

A step that is recorded once and replayed reads its rates from tensors; `in_tensors` makes such, `fill` sets them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .config import TrainConfig

LEAST_VIEWS_TO_BLEND = 4


@dataclass(frozen=True)
class Rates:
    """One step's: `lr`, a factor on every group's peak rate; `eta`, the share of the mean-view target; `decay`, how
    much of itself the moving average keeps. Each a number, or a float64 tensor [] where the step is recorded."""

    lr: float | Tensor
    eta: float | Tensor
    decay: float | Tensor

    def fill(self, values: Rates) -> None:
        """Set the tensors among these rates to numbers, in place; on a GPU, without waiting for it."""
        for mine, value in ((self.lr, values.lr), (self.eta, values.eta), (self.decay, values.decay)):
            if isinstance(mine, Tensor):
                mine.fill_(value)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The rates of every step of a run of `steps` in all, from a store with `views` views an image."""

    config: TrainConfig
    steps: int
    views: int

    def at(self, step: int) -> Rates:
        """The rates of this step, counted from 0 over all epochs."""
        return Rates(lr=self._lr(step), eta=self._eta(step), decay=min(self.config.ema, (1 + step) / (10 + step)))

    def in_tensors(self, step: int, device: torch.device) -> Rates:
        """The rates of this step in tensors on `device`, for a step that is recorded and serves every other, too.

        `eta` is one where the run blends; where it never does, it stays the number 0 or 1, which leaves one of the two
        losses out.
        """
        rates = self.at(step)

        def tensor(value: float | Tensor) -> Tensor:
            return torch.full((), float(value), dtype=torch.float64, device=device)

        return Rates(
            lr=tensor(rates.lr),
            eta=tensor(rates.eta) if self._blends else rates.eta,
            decay=tensor(rates.decay),
        )

    @property
    def needs_mean(self) -> bool:
        """Whether any step learns from the mean over views."""
        return self.config.views == "mean" or self._blends

    @property
    def _blends(self) -> bool:
        return self.config.views == "blend" and self.views >= LEAST_VIEWS_TO_BLEND

    def _eta(self, step: int) -> float:
        if self.config.views == "mean":
            return 1.0
        return self.config.eta * min(1.0, step / (0.2 * self.steps)) if self._blends else 0.0

    def _lr(self, step: int) -> float:
        """Linear warm-up, then a cosine to 0."""
        warm = max(1, round(self.config.warmup * self.steps))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))
