"""Which image in which view at which step: the order of a whole run, known before it begins.

An epoch is every image once, shuffled; an image goes through all its V views, in an order of its own, before it sees
one again. What a step gets is a pure function of (seed, epoch, step), so a checkpoint holds nothing of it.

Two ways to cut the epochs into steps:

    equal parts   each epoch by itself, in batches of nearly equal size (on a CPU)
    fixed         the epochs are one stream, and every step takes exactly `batch` images of it: the rest of an epoch
                  rolls into the next one's first step, and the run's last step is filled from the epoch that would
                  follow (on a GPU, where one shape is recorded and replayed)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

Step = tuple[np.ndarray, np.ndarray]
"""The rows [B] and views [B], int64, of one batch."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """Every step of a run over `rows` (int64 [N]) of a store with `views` views, about `batch` images a step.

    `fixed` says in which of the two ways; then no batch is larger than N, and `batch` says so. `shown(rows, views)` is
    which views [n] are shown in place of these views [n] of these rows [n]; None: they themselves.
    """

    seed: int
    rows: np.ndarray
    views: int
    batch: int
    epochs: int
    fixed: bool = False
    shown: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    _parts: int = field(init=False)

    def __post_init__(self) -> None:
        if self.fixed:
            object.__setattr__(self, "batch", min(self.batch, len(self.rows)))
        object.__setattr__(self, "_parts", max(1, round(len(self.rows) / self.batch)))

    @property
    def steps(self) -> int:
        """How many steps the run has in all."""
        return self.end(self.epochs - 1)

    def end(self, epoch: int) -> int:
        """How many steps are done when this epoch is (counted from 0; -1: none)."""
        if self.fixed:
            return math.ceil((epoch + 1) * len(self.rows) / self.batch)
        return (epoch + 1) * self._parts

    def epoch(self, epoch: int) -> list[Step]:
        """The steps of this epoch, counted from 0: those from end(epoch - 1) to end(epoch)."""
        rows, views = self._entries(epoch)
        if not self.fixed:
            return list(zip(np.array_split(rows, self._parts), np.array_split(views, self._parts)))
        following = self._entries(epoch + 1, self.batch)
        first, last = (step * self.batch - epoch * len(rows) for step in (self.end(epoch - 1), self.end(epoch)))
        rows, views = (np.concatenate(pair)[first:last] for pair in zip((rows, views), following))
        return list(zip(rows.reshape(-1, self.batch), views.reshape(-1, self.batch)))

    def _entries(self, epoch: int, count: int | None = None) -> Step:
        """The first `count` images of this epoch, or all, and their views."""
        rounds, turn = divmod(epoch, self.views)
        shape = (len(self.rows), self.views)
        keys = np.random.default_rng([self.seed, 1, rounds]).random(shape, dtype=np.float32)
        shuffled = np.random.default_rng([self.seed, 2, epoch]).permutation(len(self.rows))[:count]
        rows, views = self.rows[shuffled], keys[shuffled].argsort(axis=1)[:, turn]
        return rows, views if self.shown is None else self.shown(rows, views)
