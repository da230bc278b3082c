"""The training loop's input: the pixels and targets of a step's images (which ones: plan.py).

For a GPU, a background thread reads a few steps ahead. On a CPU a thread beside the step would take a core from it, and
all cores wait for the slowest: there they share the crops between two steps (benchmarks/step_time.py). The crops come
from the store's cached pixels, so nothing is decoded here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from .methods.base import TeacherOut

if TYPE_CHECKING:
    from ..teacher.store import TeacherStore

T = TypeVar("T")


@dataclass(frozen=True)
class Batch:
    """One step's input: uint8 images [B,S,S,3], the teacher's features of them, and where these lie in the store: `row`
    and `view`, int64 [B]."""

    images: Tensor
    teacher: TeacherOut
    row: Tensor
    view: Tensor

    def tensors(self) -> list[Tensor]:
        """All of them, in one order."""
        return [self.images, *self.teacher.tensors(), self.row, self.view]

    def map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        """A batch of what `change` makes of each."""
        return Batch(change(self.images), self.teacher.map(change), change(self.row), change(self.view))


@dataclass(frozen=True, kw_only=True)
class BatchReader:
    """Reads batches from a store: crops at `size`, u and, `with_mean`, u_mean.

    `threads` share the crops; the result does not depend on them.
    """

    store: TeacherStore
    size: int
    with_mean: bool
    threads: Executor | None = None

    def read(self, rows: np.ndarray, views: np.ndarray) -> Batch:
        """The batch of these int64 rows [B] in these views [B]."""
        store = self.store
        images = store.pixels.crops(rows, views, self.size, self.threads)
        return Batch(
            images=images,
            teacher=read_teacher(store, rows, views, self.with_mean),
            row=torch.from_numpy(rows),
            view=torch.from_numpy(views),
        )


def read_teacher(store: TeacherStore, rows: np.ndarray, views: np.ndarray, with_mean: bool) -> TeacherOut:
    """What the store holds of these rows [B] in these views [B]."""
    u, u_mean = store.view_targets(rows, views) if with_mean else (store.features(rows, views), None)
    facts = store.facts
    return TeacherOut(
        u=torch.from_numpy(u),
        u_mean=None if u_mean is None else torch.from_numpy(u_mean),
        weight=None if facts is None else torch.from_numpy(facts.weight[rows]),
        prompt_class=None if facts is None else torch.from_numpy(facts.prompt_class[rows]),
    )


def prefetch(make: Callable[..., T], jobs: Iterable[tuple[Any, ...]], ahead: int = 2) -> Iterator[T]:
    """make(*job) for every job, in order, computed in a background thread up to `ahead` jobs early; 0: on demand."""
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        try:
            for job in jobs:
                waiting.append(thread.submit(make, *job))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            thread.shutdown(cancel_futures=True)
