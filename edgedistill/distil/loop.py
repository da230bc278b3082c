"""The training loop: the student sees a crop and learns the feature that the teacher had of the same crop.

That feature is read from the store: no teacher runs here, and no label is read. Epochs are fixed beforehand and the
last one is kept (its moving average): nothing is chosen by looking at check images. Everything random is a function of
(seed, epoch), so a killed run goes on from its last checkpoint to the same bytes on a CPU, given the same number of
threads.

    folder/
        metrics.jsonl            first line: what was run; then one line an epoch (times are the only part that varies)
        checkpoint.safetensors   while it runs, about every 30 s
        student.safetensors, student.json     when it is done
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from ..work import atomic
from ..work.console import SILENT, Progress
from . import methods
from .allocator import keep_freed_memory
from .arithmetic import choose_device, choose_dtype, reproducible
from .batches import Batch, BatchReader, epoch_plan, prefetch
from .checkpoint import Checkpoint, read_checkpoint
from .config import TrainConfig, batch_for, epochs_for
from .lesson import Lesson
from .methods.base import check_finite
from .schedule import Schedule
from .step import Learner
from .students import CARD, WEIGHTS, Student, save_student

log = logging.getLogger(__name__)

METRICS, CHECKPOINT = "metrics.jsonl", "checkpoint.safetensors"
CHECKPOINT_SECONDS = 30.0
TIMES = ("seconds", "images_per_s")  # the keys of an epoch's line that no two runs share


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
    on a CPU, however often the run was interrupted; a finished one is read back. Raises InputError for a GPU that is
    not there, and NonFiniteLoss naming the part of the loss and the step.
    """
    device = choose_device(config.train_on)
    with reproducible(device, config.threads):
        if config.dtype == "auto":
            dtype, why = choose_dtype(student, config.size, config.batch or batch_for(len(lesson.rows)), device)
            log.info("the student trains in %s: %s", dtype, why)
            config = dataclasses.replace(config, dtype=dtype)
        run = Run(student, lesson, config, folder)
        if not run.finished():
            run.resume()
            progress.start("distil", run.epochs * len(lesson.rows))
            progress.advance(run.epoch * len(lesson.rows))
            while run.epoch < run.epochs:
                run.one_epoch(progress)
                if run.epoch < run.epochs and time.monotonic() - run.saved >= CHECKPOINT_SECONDS:
                    run.checkpoint()
            progress.done()
            run.save()
        shipped = run.learner.average.cpu().eval().requires_grad_(False)
    return TrainResult(shipped, run.metrics, run.epochs, run.batch, device.type, config.dtype, run.warnings)


class Run:
    """One training under way: the learner, its lesson, the epochs done, what is written of them.

    `train` is what drives it; a benchmark takes it apart: `step` is one batch, `one_epoch` the loop around it.
    `folder` is written to by `one_epoch`, `checkpoint` and `save` alone. The config's dtype is a settled one, not
    "auto".
    """

    def __init__(self, student: Student, lesson: Lesson, config: TrainConfig, folder: Path) -> None:
        self.lesson, self.config, self.folder = lesson, config, folder
        self.device = choose_device(config.train_on)
        if self.device.type == "cpu":
            keep_freed_memory()
        images = len(lesson.rows)
        self.batch, self.epochs = config.batch or batch_for(images), config.epochs or epochs_for(images)
        self.steps_per_epoch = len(epoch_plan(0, 0, lesson.rows, 1, self.batch))
        self.schedule = Schedule(
            config=config, steps=self.epochs * self.steps_per_epoch, views=lesson.store.views
        )
        self.reader = BatchReader(
            store=lesson.store,
            size=config.size,
            with_mean=self.schedule.needs_mean,
            pin=self.device.type == "cuda",
        )
        self.learner = Learner(student, lesson, config, self.device)
        self.header = self._header()
        start = {name: _checksum(value) for name, value in student.state_dict().items()}
        inputs = {"start": start, "store": lesson.store.inputs, "rows": _checksum(lesson.rows)}
        self.key = atomic.digest({**self.header, **inputs})
        self.header["run"] = self.key
        self.epoch = 0
        self.metrics: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.saved = time.monotonic()

    def _header(self) -> dict[str, Any]:
        """What is run, with everything that was left open decided: the first line of metrics.jsonl."""
        return {
            **methods.options(self.lesson.method),
            **{f"train_{name}": value for name, value in dataclasses.asdict(self.config).items()},
            "train_batch": self.batch,
            "train_epochs": self.epochs,
            "train_lr": self.learner.lr,
            "train_norm": self.learner.norm,
            "images": len(self.lesson.rows),
            "device": self.device.type,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }

    def one_epoch(self, progress: Progress) -> None:
        """Every image once; appends a line of metrics."""
        config, epoch = self.config, self.epoch
        torch.manual_seed(int(np.random.default_rng([config.seed, 3, epoch]).integers(2**62)))  # for dropout
        plan = epoch_plan(config.seed, epoch, self.lesson.rows, self.lesson.store.views, self.batch)
        ahead = 2 if self.device.type == "cuda" else 0
        began, seen, sums = time.perf_counter(), 0, dict[str, float]()
        with ThreadPoolExecutor(torch.get_num_threads()) as cores:
            read = dataclasses.replace(self.reader, threads=cores).read
            for k, batch in enumerate(prefetch(read, plan, ahead)):
                step = epoch * len(plan) + k
                numbers = self.step(batch.to(self.device), step, f"epoch {epoch + 1}, step {k + 1} of {len(plan)}")
                count = len(batch.row)
                seen += count
                for name, value in numbers.items():
                    sums[name] = sums.get(name, 0.0) + count * value
                progress.advance(count, note=f"epoch {epoch + 1}, agreement {sums['agreement'] / seen:.3f}")
        seconds = time.perf_counter() - began
        row: dict[str, Any] = {"epoch": epoch + 1, "step": self.steps_per_epoch * (epoch + 1)}
        row |= {name: float(f"{value / seen:.6g}") for name, value in sums.items()}
        row |= {"seconds": round(seconds, 3), "images_per_s": round(seen / seconds, 1)}
        self.metrics.append(row)
        self.epoch += 1
        self._warn_if_stalled()
        self._write_metrics()

    def step(self, batch: Batch, step: int, where: str) -> dict[str, float]:
        """One step of the learner, at the rates of `step` (counted from 0 over all epochs), as numbers.

        These are the parts of the loss, agreement with the teacher, gradient norm and learning rate. Raises
        NonFiniteLoss naming `where`.
        """
        rates = self.schedule.at(step)
        numbers = check_finite(self.learner.step(batch, rates), where)
        return {**numbers, "lr": rates.lr * self.learner.lr}

    def _warn_if_stalled(self) -> None:
        warning = stalled([row["agreement"] for row in self.metrics], self.epochs)
        if warning and not self.warnings:
            self.warnings.append(warning)
            log.warning("%s", warning)

    # ---- what is written ---------------------------------------------------------------------------------------------

    def _write_metrics(self) -> None:
        lines = [json.dumps(row, allow_nan=False) for row in [self.header, *self.metrics]]
        atomic.write_bytes(self.folder / METRICS, ("\n".join(lines) + "\n").encode())

    def save(self) -> None:
        """The two files that others read. student.json is written last: where it stands, the run is finished."""
        save_student(
            self.folder,
            self.learner.average,
            teacher_id=self.lesson.bank.teacher_id,
            teacher_hash=self.lesson.bank.teacher_hash,
            size=self.config.size,
        )
        (self.folder / CHECKPOINT).unlink(missing_ok=True)

    def finished(self) -> bool:
        """Whether the folder holds this very run's result; then it is read back. Another run's is taken away."""
        if (self.folder / CARD).is_file() and (self.folder / METRICS).is_file():
            header, *rows = map(json.loads, (self.folder / METRICS).read_text().splitlines())
            if header["run"] == self.key and len(rows) == self.epochs:
                self.learner.average.load_state_dict(load_file(self.folder / WEIGHTS))
                self.epoch, self.metrics = self.epochs, rows
                return True
        (self.folder / CARD).unlink(missing_ok=True)
        return False

    def checkpoint(self) -> None:
        """Keep what the rest of the run depends on."""
        half = Checkpoint(self.key, self.epoch, self.metrics, self.warnings, self.learner.tensors())
        half.write(self.folder / CHECKPOINT)
        self.saved = time.monotonic()

    def resume(self) -> None:
        """Go on from the folder's checkpoint, if it is there, sound, and of this very run."""
        half = read_checkpoint(self.folder / CHECKPOINT, self.key)
        if half is None:
            return
        self.learner.load(half.tensors)
        self.epoch, self.metrics, self.warnings = half.epoch, half.metrics, half.warnings
        log.info("training goes on after epoch %d", self.epoch)


def _checksum(value: Tensor | np.ndarray) -> str:
    array = value.detach().cpu().contiguous().numpy() if isinstance(value, Tensor) else np.ascontiguousarray(value)
    return hashlib.sha256(array.tobytes()).hexdigest()


def stalled(agreements: list[float], epochs: int) -> str | None:
    """A warning if agreement with the teacher on the pool stopped rising while it is still low, else None."""
    window = max(5, epochs // 5)
    if len(agreements) < 2 * window or len(agreements) >= epochs:
        return None
    before, now = np.mean(agreements[-2 * window : -window]), np.mean(agreements[-window:])
    if now >= 0.8 or now - before >= 0.01:
        return None
    return (
        f"agreement with the teacher stalls at {now:.2f} (epoch {len(agreements)} of {epochs}): "
        "the student is too small, the photos too few or unlike the classes, or the learning rate is wrong"
    )
