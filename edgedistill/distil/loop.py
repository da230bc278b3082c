"""The training loop: the student sees a crop and learns the feature that the teacher had of the same crop.

That feature is read from the store: no teacher runs here, and no label is read. Epochs are fixed beforehand and the
last one is kept (its moving average): nothing is chosen by looking at check images. Everything random is a function of
(seed, epoch), so a killed run goes on from its last checkpoint to the same bytes on a CPU, given the same number of
threads.

    folder/
        metrics.jsonl            first line: what was run; then one line an epoch (TIMES are the only part that varies)
        checkpoint.safetensors   while it runs, about every 30 s
        student.safetensors, student.json     when it is done
"""

from __future__ import annotations

import dataclasses
import gc
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..errors import EdgeDistillError
from ..work.console import SILENT, Progress
from .arithmetic import choose_device, choose_dtype, reproducible
from .config import TrainConfig, batch_for
from .gpu_run import GpuRun
from .lesson import Lesson
from .run import Run
from .student import Student

log = logging.getLogger(__name__)

CHECKPOINT_SECONDS = 30.0
LEAST_BATCH = 2
AGAIN = "run the same command: training goes on from its last checkpoint."


@dataclass(frozen=True)
class TrainResult:
    """The averaged student, in eval mode on the CPU; one dict an epoch; and what was decided on the way."""

    student: Student
    metrics: list[dict[str, Any]]
    epochs: int
    batch: int
    device: str
    dtype: str
    warnings: list[str]


def train(
    student: Student, lesson: Lesson, config: TrainConfig, folder: Path, progress: Progress = SILENT
) -> TrainResult:
    """Teach `student` its lesson; writes into `folder` and resumes from it.

    `student` itself is the start and is not changed. Same inputs, config and thread count: same student.safetensors
    on a CPU, however often the run was interrupted; a finished one is read back. Where a GPU's memory does not hold a
    step, the run is one with a smaller batch. Raises InputError for a GPU that is not there, NonFiniteLoss naming the
    part of the loss and the step, OutOfMemory.
    """
    device = choose_device(config.train_on)
    with reproducible(device, config.threads):
        batch = config.batch or batch_for(len(lesson.rows))
        if config.dtype == "auto":
            dtype, why = choose_dtype(student, config.size, batch, device)
            log.info("the student trains in %s: %s", dtype, why)
            config = dataclasses.replace(config, dtype=dtype)
        while (run := _taught(student, lesson, dataclasses.replace(config, batch=batch), folder, progress)) is None:
            batch = smaller(batch)
            gc.collect()  # of the run that did not fit, circles still hold some of the GPU's memory
            torch.cuda.empty_cache()
        shipped = run.learner.average.cpu().eval().requires_grad_(False)
    return TrainResult(shipped, run.metrics, run.epochs, run.batch, device.type, config.dtype, run.warnings)


def begin(student: Student, lesson: Lesson, config: TrainConfig, folder: Path) -> Run:
    """A run as the config's device trains."""
    kind = GpuRun if choose_device(config.train_on).type == "cuda" else Run
    return kind(student, lesson, config, folder)


def _taught(student: Student, lesson: Lesson, config: TrainConfig, folder: Path, progress: Progress) -> Run | None:
    """The run of this config, at its end; None if the GPU's memory did not hold its steps."""
    try:
        run = begin(student, lesson, config, folder)
        if not run.finished():
            run.resume()
            run.prepare()
            _to_the_end(run, progress)
            run.learner.interpolate()
            run.save()
    except torch.OutOfMemoryError:
        return None
    return run


def _to_the_end(run: Run, progress: Progress) -> None:
    first = run.epoch
    progress.start("distil", run.epochs * len(run.lesson.rows))
    progress.advance(run.epoch * len(run.lesson.rows))
    try:
        while run.epoch < run.epochs:
            run.one_epoch(progress)
            if run.epoch < run.epochs and time.monotonic() - run.saved >= CHECKPOINT_SECONDS:
                run.checkpoint()
    except torch.OutOfMemoryError as error:
        if run.epoch > first:  # the step did fit: another program took the memory since
            raise OutOfMemory(
                f"the GPU's memory ran out in epoch {run.epoch + 1}, after epochs that it was enough for",
                f"See with nvidia-smi what else uses the GPU, then {AGAIN}",
            ) from error
        progress.done()
        raise
    progress.done()


class OutOfMemory(EdgeDistillError):
    """The GPU's memory does not hold the training."""


def smaller(batch: int) -> int:
    """Half of a batch that the GPU's memory did not hold, said. Raises OutOfMemory where there is no half."""
    if batch <= LEAST_BATCH:
        raise OutOfMemory(
            f"the GPU's memory does not hold a training step of {batch} images",
            "Free it (nvidia-smi shows who uses it), choose a smaller student or --input-size, or use --train-on cpu.",
        )
    half = max(LEAST_BATCH, batch // 2)
    log.info("the GPU's memory does not hold a step of %d images: training begins anew with %d", batch, half)
    return half
