"""How long a synthesis takes, told as soon as two of its steps are done; a bar that moves with the steps."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

import torch

from ..work.console import Progress

log = logging.getLogger(__name__)

Stepped = Callable[[int, int], None]
"""Called with (steps done, steps in all) of what is being made. After the first two steps their work is done: whoever
computes on a GPU waits for it there, and so these can be timed."""


def untold(done: int, of: int) -> None:
    """For whoever does not ask."""


class Pace:
    """Of `left` things that are made in blocks, each block by the same number of steps, or without any that are told.

    The first step is slower than the others (memory is taken, kernels are chosen), and the second one counts.
    """

    def __init__(self, what: str, left: int, progress: Progress) -> None:
        """what: in the plural, such as "images"."""
        self._what, self._left, self._progress = what, left, progress
        self._count, self._shown = 0, 0
        self._first = 0.0
        self.told = False

    def begin(self, count: int) -> None:
        """A block of so many."""
        self._count, self._shown = count, 0

    def stepped(self, done: int, of: int) -> None:
        self._show(self._count * done // of)
        if done == 1:
            self._first = time.perf_counter()
        elif not self.told:
            self._tell((time.perf_counter() - self._first) / (done - 1) * of * self._left / self._count)

    def end(self) -> None:
        """The block is done."""
        self._show(self._count)

    def first_block(self, seconds: float, left: int) -> None:
        """For what tells of no steps: one block took so long, and so many are left."""
        if left and not self.told:
            self._left = left
            self._tell(seconds * left / self._count)

    def _show(self, made: int) -> None:
        self._progress.advance(made - self._shown)
        self._shown = made

    def _tell(self, seconds: float) -> None:
        self.told = True
        log.info("%d %s: about %s", self._left, self._what, span(seconds))


def wait_for(device: torch.device, done: int) -> None:
    """Where a GPU computes, until it has done the first two steps: `Stepped` asks for that, and for no more."""
    if done <= 2 and device.type == "cuda":
        torch.cuda.synchronize(device)


def span(seconds: float) -> str:
    """A time in words: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
