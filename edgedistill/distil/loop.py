"""One plain loop: the student looks at a crop, the store says what the teacher saw in the very same crop.

The teacher is never here, nor any label. Epochs are fixed beforehand and the last one is kept (its moving average):
nothing is chosen by looking at check images. Everything random is a function of (seed, epoch), so a killed run goes on
from its last checkpoint to the same bytes on a CPU, given the same number of threads.

    folder/
        metrics.jsonl            first line: what was run; then one line an epoch (times are the only part that varies)
        checkpoint.safetensors   while it runs, about every 30 s
        student.safetensors, student.json     when it is done
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
import logging
import math
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from ..work import atomic
from ..work.console import SILENT, Progress
from . import methods
from .allocator import keep_freed_memory
from .arithmetic import autocast, choose_device, choose_dtype, placed, reproducible
from .batches import Batch, BatchReader, epoch_plan, prefetch
from .config import TrainConfig, batch_for, epochs_for, lr_for, norm_for
from .lesson import Lesson
from .methods.base import StudentOut, check_finite, view_loss
from .step import _groups, hold_statistics
from .students import CARD, WEIGHTS, Student, save_student
from .unfold import is_folded, unfold

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
        shipped = run.average.cpu().eval().requires_grad_(False)
    return TrainResult(shipped, run.metrics, run.epochs, run.batch, device.type, config.dtype, run.warnings)


class Run:
    """One training under way: live student, its average, optimiser, metrics so far.

    `train` is what drives it; a benchmark takes it apart: `step` is one batch, `one_epoch` the loop around it.
    `folder` is written to by `one_epoch`, `checkpoint` and `save` alone. The config's dtype is a settled one, not
    "auto".
    """

    def __init__(self, student: Student, lesson: Lesson, config: TrainConfig, folder: Path) -> None:
        device, rows, method = choose_device(config.train_on), lesson.rows, lesson.method
        if device.type == "cpu":
            keep_freed_memory()
        self.lesson, self.config, self.device, self.folder = lesson, config, device, folder
        self.batch, self.epochs = config.batch or batch_for(len(rows)), config.epochs or epochs_for(len(rows))
        self.lr = config.lr or lr_for(student)
        self.steps_per_epoch = len(epoch_plan(0, 0, rows, 1, self.batch))
        self.steps = self.epochs * self.steps_per_epoch
        self.state = method.prepare(lesson.store, lesson.bank, lesson.classes).to(device)
        self.reader = BatchReader(
            store=lesson.store,
            size=config.size,
            with_mean=config.views == "mean" or self._blends(),
            pin=device.type == "cuda",
        )
        self.live = placed(student, device).train()
        if is_folded(self.live.backbone):
            log.info("the start's BatchNorm is folded away: giving it the pool's statistics before training")
            unfold(self.live.backbone, self._sample_of_pixels())
        norm = norm_for(student) if config.norm == "auto" else config.norm
        if norm == "start":
            hold_statistics(self.live.backbone)
        self.average = copy.deepcopy(self.live).eval()
        self.optimiser = torch.optim.AdamW(_groups(self.live, config, self.lr), fused=True)
        self.header = {
            **methods.options(method),
            **{f"train_{k}": v for k, v in dataclasses.asdict(config).items()},
            "train_batch": self.batch,
            "train_epochs": self.epochs,
            "train_lr": self.lr,
            "train_norm": norm,
            "images": len(rows),
            "device": device.type,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        start = {name: _checksum(value) for name, value in student.state_dict().items()}
        self.key = atomic.digest({**self.header, "start": start, "store": lesson.store.inputs, "rows": _checksum(rows)})
        self.header["run"] = self.key
        self.epoch = 0
        self.metrics: list[dict[str, Any]] = []
        self.warnings: list[str] = []
        self.saved = time.monotonic()

    def _blends(self) -> bool:
        return self.config.views == "blend" and self.lesson.store.views >= 4

    def eta(self, step: int) -> float:
        """Share of the mean-view target at this step (methods 0.5)."""
        if self.config.views == "mean":
            return 1.0
        return self.config.eta * min(1.0, step / (0.2 * self.steps)) if self._blends() else 0.0

    def lr_factor(self, step: int) -> float:
        """Linear warm-up, then a cosine to 0."""
        warm = max(1, round(self.config.warmup * self.steps))
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, self.steps - warm)))

    def _sample_of_pixels(self, images: int = 512) -> Iterator[Tensor]:
        """Centre views of some of the pool, as the backbone takes them."""
        some = np.random.default_rng([self.config.seed, 0]).permutation(self.lesson.rows)[:images]
        for part in np.array_split(some, math.ceil(len(some) / 64)):
            yield self.live.normalise(
                self.lesson.store.pixels.crops(part, np.zeros_like(part), self.config.size).to(self.device)
            )

    def one_epoch(self, progress: Progress) -> None:
        """Every image once; appends a line of metrics."""
        config, epoch = self.config, self.epoch
        torch.manual_seed(int(np.random.default_rng([config.seed, 3, epoch]).integers(2**62)))  # for dropout
        plan = epoch_plan(config.seed, epoch, self.lesson.rows, self.lesson.store.views, self.batch)
        on_gpu = self.device.type == "cuda"
        began, seen, sums = time.perf_counter(), 0, dict[str, float]()
        with ThreadPoolExecutor(torch.get_num_threads()) as cores:
            read = dataclasses.replace(self.reader, threads=cores).read
            for k, batch in enumerate(prefetch(read, plan, ahead=2 if on_gpu else 0)):
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
        """Learn from one batch, which lies on `device`: forward, loss, backward, clipping, AdamW, moving average.

        `step` counts from 0 over all epochs and sets the learning rate and the blend of views. Returns the parts of
        the loss, agreement with the teacher, gradient norm and learning rate. Raises NonFiniteLoss naming `where`.
        """
        factor = self.lr_factor(step)
        for group in self.optimiser.param_groups:
            group["lr"] = factor * group["peak"]
        with autocast(self.device, self.config.dtype):
            f, h = self.live(batch.images)
        out = StudentOut.of(f, h, batch.row, batch.view)
        parts = view_loss(self.lesson.method, out, batch.teacher, self.state, self.eta(step))
        self.optimiser.zero_grad(set_to_none=True)
        parts["total"].backward()
        norm = nn.utils.clip_grad_norm_(self.live.parameters(), self.config.clip)
        with torch.no_grad():
            same = self.state.logits(out.g).argmax(-1) == self.state.logits(batch.teacher.u).argmax(-1)
        numbers = check_finite({**parts, "agreement": same.float().mean(), "grad_norm": norm}, where)
        self.optimiser.step()
        self.update_average(step)
        return {**numbers, "lr": factor * self.lr}

    @torch.no_grad()
    def update_average(self, step: int) -> None:
        """Weights move by 1 − min(ema, (1+t)/(10+t)); buffers (BatchNorm's statistics) are copied."""
        decay = min(self.config.ema, (1 + step) / (10 + step))
        torch._foreach_lerp_(list(self.average.parameters()), list(self.live.parameters()), 1 - decay)
        for mine, theirs in zip(self.average.buffers(), self.live.buffers()):
            mine.copy_(theirs)

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
        bank, size = self.lesson.bank, self.config.size
        save_student(
            self.folder, self.average, teacher_id=bank.teacher_id, teacher_hash=bank.teacher_hash, size=size
        )
        (self.folder / CHECKPOINT).unlink(missing_ok=True)

    def finished(self) -> bool:
        """Whether the folder holds this very run's result; then it is read back. Another run's is taken away."""
        if (self.folder / CARD).is_file() and (self.folder / METRICS).is_file():
            header, *rows = map(json.loads, (self.folder / METRICS).read_text().splitlines())
            if header["run"] == self.key and len(rows) == self.epochs:
                self.average.load_state_dict(load_file(self.folder / WEIGHTS))
                self.epoch, self.metrics = self.epochs, rows
                return True
        (self.folder / CARD).unlink(missing_ok=True)
        return False

    def checkpoint(self) -> None:
        """Everything the rest of the run depends on, in one file that is whole or not there."""
        tensors = {f"live.{k}": v for k, v in self.live.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state_dict().items()}
        for index, state in self.optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{k}": v for k, v in state.items()}
        about = {"key": self.key, "epoch": str(self.epoch), "metrics": json.dumps(self.metrics)}
        about["warnings"] = json.dumps(self.warnings)
        data = save({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, metadata=about)
        atomic.write_bytes(self.folder / CHECKPOINT, data)
        self.saved = time.monotonic()

    def resume(self) -> None:
        """Go on from the folder's checkpoint, if it is there, sound, and of this very run."""
        path = self.folder / CHECKPOINT
        if not path.is_file():
            return
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            log.warning("%s is damaged (%s): training starts again", path, error)
            return
        if about.get("key") != self.key:
            log.warning("%s belongs to a run with other settings: training starts again", path)
            return
        self.live.load_state_dict(_under("live.", tensors))
        self.average.load_state_dict(_under("average.", tensors))
        self._load_optimiser(_under("optimiser.", tensors))
        self.epoch, self.metrics = int(about["epoch"]), json.loads(about["metrics"])
        self.warnings = json.loads(about["warnings"])
        log.info("training goes on after epoch %d", self.epoch)

    def _load_optimiser(self, tensors: dict[str, Tensor]) -> None:
        """Moments take their parameter's memory format: the fused step walks both in the same order."""
        parameters = [p for group in self.optimiser.param_groups for p in group["params"]]
        states: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, _, kind = name.partition(".")
            like = parameters[int(index)]
            same_shape = kind != "step"
            states.setdefault(int(index), {})[kind] = torch.empty_like(like).copy_(value) if same_shape else value
        self.optimiser.load_state_dict({**self.optimiser.state_dict(), "state": states})


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


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
