"""How a GPU trains: one step of fixed shape, recorded once; batches made ahead of use; nothing read within an epoch."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from .batches import Batch, prefetch
from .captured import CapturedStep
from .gpu_batches import GpuReader, free_half
from .plan import Step
from .run import Run
from .sums import Steps, SumsAtOnce, SumsOnGpu

AHEAD = 2
"""Batches that are read before they are needed."""
IN_FLIGHT = 8
"""Steps that may wait for the GPU: enough to keep it busy, few enough for the progress bar to tell the truth."""


class GpuRun(Run):
    """Works on a CPU, too, where nothing is recorded: so it is tested."""

    fixed = True

    def prepare(self) -> None:
        """The first batch, the warm-up and the recording: this is when it shows whether the memory is enough."""
        began = time.perf_counter()
        self._gpu_reader = GpuReader(
            self.lesson.store,
            self.config.size,
            with_mean=self.needs_mean,
            device=self.device,
            room=free_half(self.device),  # with the student on the GPU already
        )
        step = self.plan.end(self.epoch - 1)
        rates = self.schedule.in_tensors(step, self.device)
        self._step = CapturedStep(self.learner, self.first_batch(), rates)
        self._warm_up_s: float | None = time.perf_counter() - began

    def first_batch(self) -> Batch:
        return self._gpu_reader.place(self._gpu_reader.read(*self.plan.epoch(self.epoch)[0]))

    def batches(self, steps: Sequence[Step]) -> Iterator[Batch]:
        sent = _InFlight(self.device)
        for ready in prefetch(self._gpu_reader.read, steps, AHEAD):
            yield self._gpu_reader.place(ready)
            sent.one_more()

    def step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        return self._step(batch, self.schedule.at(step))

    def sums(self, steps: Steps) -> SumsAtOnce | SumsOnGpu:
        return SumsOnGpu(steps=steps)

    def agreement(self, sums: SumsAtOnce | SumsOnGpu) -> float | None:
        """The last epoch's: this one's is not read before its end."""
        return self.metrics[-1]["agreement"] if self.metrics else None

    def of_this_device(self) -> dict[str, float]:
        found: dict[str, float] = {}
        if self._warm_up_s is not None:  # once: it came before the first epoch of this process
            found["warm_up_s"] = round(self._warm_up_s, 3)
            self._warm_up_s = None
        if self.device.type == "cuda":
            found["gpu_mb"] = round(torch.cuda.max_memory_reserved(self.device) / 2**20)
        return found


class _InFlight:
    """Waits where more than IN_FLIGHT steps have been sent to the GPU and are not done."""

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._marks: deque[torch.cuda.Event] = deque()

    def one_more(self) -> None:
        if not self._on_gpu:
            return
        mark = torch.cuda.Event(blocking=True)
        mark.record()
        self._marks.append(mark)
        if len(self._marks) > IN_FLIGHT:
            self._marks.popleft().synchronize()
