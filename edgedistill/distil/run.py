"""One training under way: the learner and its lesson, the epochs done, and what is written of them.

Here is what every device has in common; as it stands, it is how a CPU trains. A GPU does some of it otherwise
(gpu_run.py). What drives a run to its end is loop.py.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..targets.error_lines import first_line
from ..targets.outside import LARGE, parse_json, read_bytes
from ..targets.safetensors_header import read_header
from ..work import atomic
from ..work.console import Progress
from ..work.plain_path import plain_path
from . import methods
from .allocator import keep_freed_memory
from .arithmetic import choose_device
from .batches import Batch, BatchReader, prefetch
from .checkpoint import Checkpoint, read_checkpoint
from .config import TrainConfig, batch_for, epochs_for
from .lesson import Lesson
from .plan import Plan, Step
from .schedule import Schedule
from .step import Learner
from .student import Student
from .student_card import CARD, WEIGHTS
from .student_files import save_student
from .sums import Steps, SumsAtOnce, SumsOnGpu

log = logging.getLogger(__name__)

METRICS, CHECKPOINT = "metrics.jsonl", "checkpoint.safetensors"
TIMES = ("seconds", "images_per_s", "warm_up_s", "gpu_mb")
"""The keys of an epoch's line that no two runs share."""


class Run:
    """`loop.train` is what drives it; a benchmark takes it apart: `step` is one batch, `one_epoch` the loop around it.

    `folder` is written to by `one_epoch`, `checkpoint` and `save` alone. The config's dtype is a settled one, not
    "auto".
    """

    fixed: ClassVar[bool] = False
    """How the plan cuts the epochs (plan.py)."""

    def __init__(self, student: Student, lesson: Lesson, config: TrainConfig, folder: Path) -> None:
        if lesson.method.recipe.views:
            lesson = dataclasses.replace(lesson, store=lesson.store.first_views(lesson.method.recipe.views))
        self.lesson, self.config, self.folder = lesson, config, folder
        self.device = choose_device(config.train_on)
        if self.device.type == "cpu":
            keep_freed_memory()
        images = len(lesson.rows)
        self.epochs = config.epochs or epochs_for(images)
        self.plan = Plan(
            seed=config.seed,
            rows=lesson.rows,
            views=lesson.store.views,
            batch=config.batch or batch_for(images),
            epochs=self.epochs,
            fixed=self.fixed,
            shown=self._shown if lesson.store.views > lesson.store.plain_views else None,
        )
        self.batch = self.plan.batch
        self.schedule = Schedule(config=config, steps=self.plan.steps, views=lesson.store.plain_views)
        self.learner = Learner(student, lesson, config, self.device)
        self.header = self._header()
        start = {name: _checksum(value) for name, value in student.state_dict().items()}
        inputs = {"start": start, "store": lesson.store.inputs, "rows": _checksum(lesson.rows)}
        facts = lesson.store.facts
        if facts is not None:
            inputs["facts"] = [_checksum(facts.weight), _checksum(facts.prompt_class)]
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

    def _shown(self, rows: np.ndarray, views: np.ndarray) -> np.ndarray:
        """`views` of these rows; a plain one where a mixed view's partner may not train, as a copy of a check image."""
        blends = self.lesson.store.pixels.blends(rows, views)
        if blends is None:
            return views
        barred = blends.which[~self._trains[blends.partner]]
        shown = views.copy()
        shown[barred] %= self.lesson.store.plain_views
        return shown

    @cached_property
    def _trains(self) -> np.ndarray:
        """bool [N]: which rows of the store train."""
        trains = np.zeros(len(self.lesson.store), dtype=bool)
        trains[self.lesson.rows] = True
        return trains

    @property
    def needs_mean(self) -> bool:
        """Whether any step reads the mean over views."""
        return self.schedule.needs_mean or self.lesson.method.needs_mean

    # ---- what a device does its own way ------------------------------------------------------------------------------

    def prepare(self) -> None:
        """What comes once before the first epoch of this process, after `resume`."""
        self._reader = BatchReader(store=self.lesson.store, size=self.config.size, with_mean=self.needs_mean)

    def first_batch(self) -> Batch:
        """A batch as the steps take it, on the device: the next epoch's first."""
        return self._reader.read(*self.plan.epoch(self.epoch)[0])

    def batches(self, steps: Sequence[Step]) -> Iterator[Batch]:
        """The batches of these steps, on the device."""
        with ThreadPoolExecutor(torch.get_num_threads()) as cores:
            yield from prefetch(dataclasses.replace(self._reader, threads=cores).read, steps, ahead=0)

    def step(self, batch: Batch, step: int) -> dict[str, Tensor]:
        """What `Learner.step` returns of this batch at the rates of `step`, counted from 0 over all epochs."""
        return self.learner.step(batch, self.schedule.at(step))

    def sums(self, steps: Steps) -> SumsAtOnce | SumsOnGpu:
        """Where the numbers of these steps add up."""
        return SumsAtOnce(steps=steps)

    def agreement(self, sums: SumsAtOnce | SumsOnGpu) -> float | None:
        """What the progress bar shows of an epoch under way; None: nothing is known yet."""
        return sums.means()["agreement"]

    def of_this_device(self) -> dict[str, float]:
        """More of an epoch's line, under keys that are in TIMES."""
        return {}

    # ---- an epoch ----------------------------------------------------------------------------------------------------

    def one_epoch(self, progress: Progress) -> None:
        """Every image once; appends a line of metrics."""
        epoch, seen, lr = self.epoch, 0, 0.0
        torch.manual_seed(int(np.random.default_rng([self.config.seed, 3, epoch]).integers(2**62)))  # for dropout
        plan, done = self.plan.epoch(epoch), self.plan.end(epoch - 1)
        sums = self.sums(Steps(epoch, len(plan)))
        began = time.perf_counter()
        for k, batch in enumerate(self.batches(plan)):
            count = len(batch.row)
            sums.add(k, self.step(batch, done + k), count)
            seen += count
            lr += count * float(self.schedule.at(done + k).lr * self.learner.lr)
            agreement = self.agreement(sums)
            known = "" if agreement is None else f", agreement {agreement:.3f}"
            progress.advance(count, note=f"epoch {epoch + 1}{known}")
        means = {**sums.means(), "lr": lr / seen}
        seconds = time.perf_counter() - began
        row: dict[str, Any] = {"epoch": epoch + 1, "step": self.plan.end(epoch)}
        row |= {name: float(f"{value:.6g}") for name, value in means.items()}
        row |= {"seconds": round(seconds, 3), "images_per_s": round(seen / seconds, 1), **self.of_this_device()}
        self.metrics.append(row)
        self.epoch += 1
        self._warn_if_stalled()
        self._write_metrics()

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
            try:
                header, *rows = map(parse_json, read_bytes(self.folder / METRICS, LARGE.size).splitlines())
                if header["run"] == self.key and len(rows) == self.epochs:
                    read_header(self.folder / WEIGHTS)
                    with plain_path(self.folder / WEIGHTS) as plain:
                        self.learner.average.load_state_dict(load_file(plain))
                    self.epoch, self.metrics = self.epochs, rows
                    return True
            except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
                log.warning("%s is damaged (%s): training starts again", self.folder, first_line(error))
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
