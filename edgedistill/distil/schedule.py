"""What changes from step to step: learning rate, blend of views, decay of the moving average; plain arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .config import TrainConfig

LEAST_VIEWS_TO_BLEND = 4


@dataclass(frozen=True)
class Rates:
    """One step's: `lr`, a factor on every group's peak rate; `eta`, the share of the mean-view target; `decay`, how
    much of itself the moving average keeps."""

    lr: float
    eta: float
    decay: float


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The rates of every step of a run of `steps` in all, from a store with `views` views an image."""

    config: TrainConfig
    steps: int
    views: int

    def at(self, step: int) -> Rates:
        """The rates of this step, counted from 0 over all epochs."""
        return Rates(
            lr=self._lr(step), eta=self._eta(step), decay=min(self.config.ema, (1 + step) / (10 + step))
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
