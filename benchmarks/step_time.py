"""A training step: what distilling from the store costs beside ordinary supervised training, and beside a live teacher.

    python benchmarks/step_time.py                                  tf_mobilenetv3_small_100 at 160 and 224 px
    python benchmarks/step_time.py --student resnet18 --sizes 224
    python benchmarks/step_time.py --train-on cuda
    python benchmarks/step_time.py --sizes 160 --method all         every method's step beside kd's

Four candidates, interleaved in every round, the same student, batch, dtype, threads and memory format for all; on a GPU
the bare step is the captured one, the limit that an epoch is compared with:

    distil      the product's epoch: crops from the store's pixels, prg loss, clipping, moving average, metrics
    supervised  the same crops, read the same way, a linear classifier, cross-entropy, AdamW, nothing else
    bare        the product's step on one batch that lies ready in memory: no cropping, no reading
    live        the product's step with a ViT-B/32-shaped teacher run on every batch, in the dtype the product picks

The live teacher takes one step a round, the others as many as --steps; every figure is per step. Seven rounds at each
size, fewer (but three) on a machine where they would take more than three minutes.

With --method there are other candidates: the product's step on one batch that lies ready, for each method that is named
(or all) and for kd, half-way blended as in a build. What a method costs is the ratio of the two.

Photos are generated; the teacher's weights and the features in the store are random: no figure here depends on them.
"""

from __future__ import annotations

import argparse
import io
import logging
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import numpy as np
import rows
import torch
from PIL import Image
from torch import nn

from edgedistill.distil import arithmetic, batches
from edgedistill.distil.config import TrainConfig
from edgedistill.distil.lesson import Lesson
from edgedistill.distil.loop import begin
from edgedistill.distil.methods import METHODS, make
from edgedistill.distil.methods.base import check_finite
from edgedistill.distil.methods.prg import PRG
from edgedistill.distil.plan import Plan
from edgedistill.distil.run import Run
from edgedistill.distil.student import Student
from edgedistill.images.pixels import short_side_for
from edgedistill.teacher.fill import TeacherPass, build_store
from edgedistill.teacher.store import TeacherStore
from edgedistill.teacher.torchvision_ops import ensure_torchvision
from edgedistill.work.console import SILENT

DIM, CLASSES, TEACHER_SIZE = 512, 10, 224
# Of timing in all: with what is made before, a run stays under five minutes on two cores, under one on a GPU.
MOST_S = {"cpu": 180, "cuda": 20}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--student", default="tf_mobilenetv3_small_100")
    parser.add_argument("--sizes", type=int, nargs="+", default=[160, 224])
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, help="steps a round (3, on a GPU 16; the live teacher takes one)")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--dtype", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--train-on", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--cudnn-search", action="store_true", help="let cuDNN search, which the product does not")
    parser.add_argument("--no-live", action="store_true", help="leave the live teacher out")
    parser.add_argument("--method", nargs="+", choices=[*METHODS, "all"], help="the cost of methods, and nothing else")
    parser.add_argument("--classes", type=int, default=CLASSES)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    options.steps = options.steps or (3 if options.train_on == "cpu" else 16)
    logging.basicConfig(level=logging.INFO)  # a step that could not be recorded says so
    if options.threads:
        torch.set_num_threads(options.threads)
    device = arithmetic.choose_device(options.train_on)
    teacher = None if options.no_live or options.method else vit_b_32(device)
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        short_side = short_side_for(*options.sizes, TEACHER_SIZE)
        store = random_store(folder / "store", options.batch * options.steps, short_side)
        for size in options.sizes:
            if options.method:
                found += cost_of_methods(options, size, store, device, folder / f"{size}")
            else:
                found += measure(options, size, store, teacher, device, folder / f"{size}")
    rows.report(found, options.json)


def measure(
    options: argparse.Namespace,
    size: int,
    store: TeacherStore,
    teacher: tuple[nn.Module, torch.dtype] | None,
    device: torch.device,
    folder: Path,
) -> list[rows.Row]:
    """The figures of one input size. `teacher`: the live one and its dtype, or None; `folder` is written to."""
    folder.mkdir()
    torch.manual_seed(0)
    student = Student(options.student, DIM, size=size)
    dtype = options.dtype
    if dtype == "auto":
        dtype, _ = arithmetic.choose_dtype(student, size, options.batch, device)
    config = TrainConfig(size=size, epochs=10_000, batch=options.batch, dtype=dtype, train_on=options.train_on)
    with arithmetic.reproducible(device, options.threads):
        bank, classes = random_classes(options.classes)
        lesson = Lesson(store=store, rows=np.arange(len(store)), method=PRG(), classes=classes, bank=bank)
        torch.backends.cudnn.benchmark = options.cudnn_search
        run = begin(student, lesson, config, folder)
        began = perf_counter()
        run.prepare()
        warm_up = perf_counter() - began
        candidates: dict[str, Callable[[], object]] = {
            "distil": lambda: run.one_epoch(SILENT),
            "supervised": supervised(student, store, config, device),
            "bare": bare(run, options.steps),
        }
        if teacher is not None:
            candidates["live"] = live(run, *teacher)
        if device.type == "cuda":
            candidates = {name: synchronised(call) for name, call in candidates.items()}
        most_s = MOST_S[options.train_on] / len(options.sizes)
        seconds = rows.interleave(candidates, rounds=options.rounds, most_s=most_s)
    steps = {name: 1 if name == "live" else options.steps for name in seconds}
    per_step = {name: taken / steps[name] for name, taken in seconds.items()}
    title = f"{options.student} {size} px {dtype} batch {options.batch}{', searched' * options.cudnn_search}"
    loop_of_bare = per_step["bare"] / per_step["distil"]
    if device.type == "cuda":
        result = [
            rows.row(f"{title}: epoch / captured step in images/s", loop_of_bare, "ratio", ">= 0.85"),
            rows.row(f"{title}: warm-up and capture, once", [warm_up], "s"),
        ]
    else:
        against = per_step["distil"] / per_step["supervised"]
        result = [
            rows.row(f"{title}: distil step / supervised step", against, "ratio", "<= 1.10"),
            rows.row(f"{title}: loop / bare step in images/s", loop_of_bare, "ratio", ">= 0.90"),
        ]
    if teacher is not None:
        ratio = per_step["live"] / per_step["distil"]
        shown = str(teacher[1]).removeprefix("torch.")
        result.append(rows.row(f"{title}: step with a live ViT-B/32 ({shown}) / distil step", ratio, "ratio"))
    limit = {"bare": "captured step, the limit"} if device.type == "cuda" else {}
    result += [
        rows.row(f"{title}: {limit.get(name, name)}", options.batch / taken, "images/s")
        for name, taken in per_step.items()
    ]
    return result


def cost_of_methods(
    options: argparse.Namespace, size: int, store: TeacherStore, device: torch.device, folder: Path
) -> list[rows.Row]:
    """The step of every method over kd's, on one batch."""
    names = [name for name in METHODS if "all" in options.method or name in options.method or name == "kd"]
    torch.manual_seed(0)
    student = Student(options.student, DIM, size=size)
    dtype = "float32" if options.dtype == "auto" else options.dtype
    config = TrainConfig(size=size, epochs=10_000, batch=options.batch, dtype=dtype, train_on=options.train_on)
    with arithmetic.reproducible(device, options.threads):
        bank, classes = random_classes(options.classes)
        candidates: dict[str, Callable[[], object]] = {}
        for name in names:
            lesson = Lesson(store=store, rows=np.arange(len(store)), method=make(name), classes=classes, bank=bank)
            run = begin(student, lesson, config, folder / name)
            run.prepare()
            candidates[name] = bare(run, options.steps, half_way=True)
        if device.type == "cuda":
            candidates = {name: synchronised(call) for name, call in candidates.items()}
        seconds = rows.interleave(candidates, rounds=options.rounds, most_s=2 * MOST_S[options.train_on])
    title = f"{options.student} {size} px {dtype} batch {options.batch}, {options.classes} classes"
    return [
        rows.row(f"{title}: {name} step / kd step", seconds[name] / seconds["kd"], "ratio", "<= 1.10")
        for name in names
        if name != "kd"
    ]


def supervised(student: Student, store: TeacherStore, config: TrainConfig, device: torch.device) -> Callable[[], None]:
    """One epoch of ordinary training on the same crops: nothing of distillation in it."""
    backbone = arithmetic.placed(student, device).train()
    head = nn.Linear(student.width, CLASSES).to(device)
    optimiser = torch.optim.AdamW([*backbone.backbone.parameters(), *head.parameters()], lr=1e-3, fused=True)
    labels = torch.randint(0, CLASSES, (len(store),), device=device)
    every = np.arange(len(store))
    pin = device.type == "cuda"
    cores = ThreadPoolExecutor(torch.get_num_threads())

    def crops(part: np.ndarray, views: np.ndarray) -> torch.Tensor:
        images = store.pixels.crops(part, views, config.size, cores)
        return images.pin_memory() if pin else images

    def epoch() -> None:
        plan = Plan(seed=0, rows=every, views=store.views, batch=config.batch or 1, epochs=1).epoch(0)
        for (part, _), images in zip(plan, batches.prefetch(crops, plan, ahead=2 if pin else 0)):
            with arithmetic.autocast(device, config.dtype):
                f = backbone.backbone(backbone.normalise(images.to(device, non_blocking=True)))
            loss = nn.functional.cross_entropy(head(f.float()), labels[torch.from_numpy(part).to(device)])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            loss.item()  # what any loop logs

    return epoch


def bare(run: Run, steps: int, half_way: bool = False) -> Callable[[], None]:
    """The product's own step on one fixed batch: on a GPU the captured one, the limit of what an epoch can reach.

    `half_way`: as in the middle of the run, where views are blended, rather than at its first step.
    """
    batch = run.first_batch()
    at = run.plan.steps // 2 if half_way else 0

    def epoch() -> None:
        for _ in range(steps):
            numbers = run.step(batch, at)
            if run.device.type == "cpu":  # a GPU's loop looks at them at the end of an epoch
                check_finite(numbers, "the bare step")

    return epoch


def live(run: Run, tower: nn.Module, dtype: torch.dtype) -> Callable[[], None]:
    """One of the product's steps, the teacher's features computed on the spot instead of read."""
    batch = run.first_batch()
    images = torch.rand(len(batch.row), 3, TEACHER_SIZE, TEACHER_SIZE, device=run.device).to(dtype)

    def step() -> None:
        with torch.inference_mode():
            tower(images)
        check_finite(run.step(batch, 0), "the live step")

    return step


def vit_b_32(device: torch.device) -> tuple[nn.Module, torch.dtype]:
    """open_clip's ViT-B/32 image tower with random weights, in the dtype a build would pick for it here."""
    ensure_torchvision()
    import open_clip

    from edgedistill.teacher.trials import choose_dtype

    tower = open_clip.create_model("ViT-B-32", pretrained=None).visual.eval().requires_grad_(False).to(device)
    name, _ = choose_dtype(tower, torch.rand(16, 3, TEACHER_SIZE, TEACHER_SIZE, device=device), device)
    dtype = getattr(torch, name)
    return tower.to(dtype), dtype


def synchronised(call: Callable[[], object]) -> Callable[[], None]:
    """So that a GPU's queue is empty when the clock is read."""

    def run() -> None:
        call()
        torch.cuda.synchronize()

    return run


class RandomTeacher:
    """Random unit vectors: the store's speed does not depend on what is in it."""

    id, dim, image_size = "random", DIM, 16

    def __init__(self) -> None:
        self._draw = np.random.default_rng(0)

    def centre(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image.resize((16, 16)))

    def encode_images(self, images: np.ndarray) -> np.ndarray:
        vectors = self._draw.normal(size=(len(images), DIM)).astype(np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


class GeneratedPhotos:
    """JPEGs of short side 256, of blurred noise: about the detail of a photo."""

    def __init__(self, count: int) -> None:
        draw, found = np.random.default_rng(0), {}
        for _ in range(count):
            coarse = Image.fromarray(draw.integers(0, 256, (24, 32, 3), dtype=np.uint8))
            data = io.BytesIO()
            coarse.resize((341, 256), Image.Resampling.BICUBIC).save(data, "JPEG", quality=90)
            found[sha256(data.getvalue()).digest()] = data.getvalue()
        self._bytes = [found[key] for key in sorted(found)]
        self.hashes = np.frombuffer(b"".join(sorted(found)), np.uint8).reshape(-1, 32)

    def __len__(self) -> int:
        return len(self._bytes)

    def read(self, row: int) -> bytes:
        return self._bytes[row]


def random_store(folder: Path, count: int, short_side: int) -> TeacherStore:
    build_store(folder, TeacherPass(GeneratedPhotos(count), RandomTeacher(), seed=0, views=8, short_side=short_side))
    return TeacherStore.open(folder, verify=False)


def random_classes(count: int = CLASSES) -> tuple[Any, Any]:
    """A text bank of one prompt a class, and the class vectors made of it."""
    vectors = RandomTeacher().encode_images(np.empty(count))
    bank = SimpleNamespace(vectors=vectors[:, None], teacher_id="random", teacher_hash="random")
    return bank, SimpleNamespace(baked=vectors, text=vectors, prompt_weights=np.ones(1), scale=100.0)


if __name__ == "__main__":
    main()
