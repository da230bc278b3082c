"""A GPU's batches: the teacher's features lie on the GPU, pixels come to it ahead of use.

What the host does for a batch (`read`) may run in a thread ahead of use. What the GPU does (`place`) runs beside the
step before: on a stream of its own, which the step's stream waits for.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..images.gpu_pixels import GpuPixels, Page
from .batches import Batch, read_teacher
from .methods.base import TeacherOut

if TYPE_CHECKING:
    from ..teacher.store import TeacherStore

CHUNK_ROWS = 4096  # of features copied at once


@dataclass(frozen=True, eq=False)
class Ready:
    """The host's part of a batch: `teacher` is None where the features lie on the GPU."""

    page: Page
    row: Tensor
    view: Tensor
    teacher: TeacherOut | None


class GpuReader:
    """Reads batches of a store: crops at `size`, u and, `with_mean`, u_mean, on `device`.

    `room` bytes of the device may be filled: with the features, then with the pixels. What does not fit is sent batch
    by batch.
    """

    def __init__(self, store: TeacherStore, size: int, *, with_mean: bool, device: torch.device, room: int) -> None:
        self._store, self._size, self._with_mean, self._device = store, size, with_mean, device
        self._features = _copied(store.stored_features, device) if store.stored_features.nbytes <= room else None
        facts = store.facts
        self._facts = {} if facts is None else {
            name: torch.from_numpy(values).to(device) for name, values in vars(facts).items()
        }  # fmt: skip
        left = room - (0 if self._features is None else store.stored_features.nbytes)
        self._pixels = GpuPixels.of(store.pixels, device, left)
        self._threads = ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="pages")
        self._side = torch.cuda.Stream(device) if device.type == "cuda" else None
        if self._side is not None:
            self._side.wait_stream(torch.cuda.current_stream(device))

    def read(self, rows: np.ndarray, views: np.ndarray) -> Ready:
        """What the host has to do for these int64 rows [B] in these views [B]."""
        teacher = None
        if self._features is None:
            found = read_teacher(self._store, rows, views, self._with_mean)
            teacher = found.map(lambda x: pinned(x, self._device))
        row, view = self._pinned(rows), self._pinned(views)
        return Ready(self._pixels.page(rows, views, self._threads), row, view, teacher)

    def place(self, ready: Ready) -> Batch:
        """The batch on the device; the current stream waits for it, the host does not."""
        with self._beside():
            row, view = (x.to(self._device, non_blocking=True) for x in (ready.row, ready.view))
            images = self._pixels.crops(ready.page, self._size)
            batch = Batch(images, self._teacher(ready, row, view), row, view)
        if self._side is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_stream(self._side)
            for tensor in batch.tensors():
                tensor.record_stream(current)
        return batch

    def _teacher(self, ready: Ready, row: Tensor, view: Tensor) -> TeacherOut:
        if ready.teacher is not None:
            return ready.teacher.map(lambda x: x.to(self._device, non_blocking=True))
        assert self._features is not None  # for mypy: one of the two is there
        facts = {name: values[row] for name, values in self._facts.items()}
        if not self._with_mean:
            return TeacherOut(u=_unit(self._features[row, view]), **facts)
        every = _unit(self._features[row])
        own, plain = every[torch.arange(len(row), device=self._device), view], self._store.plain_views
        mean = _unit(every[:, :plain].mean(1))
        if self._store.views > plain:  # a mixed view is its own mean
            mean = torch.where((view >= plain)[:, None], own, mean)
        return TeacherOut(u=own, u_mean=mean, **facts)

    def _pinned(self, x: np.ndarray) -> Tensor:
        return pinned(torch.from_numpy(x), self._device)

    @contextmanager
    def _beside(self) -> Iterator[None]:
        if self._side is None:
            yield
            return
        with torch.cuda.stream(self._side):
            yield


def pinned(x: Tensor, device: torch.device) -> Tensor:
    """Where a GPU can fetch it by itself; for a CPU, as it is."""
    return x.pin_memory() if device.type == "cuda" else x


def free_half(device: torch.device) -> int:
    """Half of the device's free memory, in bytes; on a CPU, where everything is in memory already, none."""
    if device.type == "cpu":
        return 0
    torch.cuda.empty_cache()  # what the teacher's pass left with torch is free, too
    return torch.cuda.mem_get_info(device)[0] // 2


def _copied(stored_features: np.ndarray, device: torch.device) -> Tensor:
    found = torch.empty(stored_features.shape, dtype=torch.float16, device=device)
    for start in range(0, len(stored_features), CHUNK_ROWS):
        part = np.array(
            stored_features[start : start + CHUNK_ROWS]
        )  # out of the memory-mapped file, which is read-only
        found[start : start + len(part)].copy_(torch.from_numpy(part))
    return found


def _unit(vectors: Tensor) -> Tensor:
    """float32, as `TeacherStore` normalises: float16 rounds."""
    vectors = vectors.float()
    return vectors / vectors.norm(dim=-1, keepdim=True)
