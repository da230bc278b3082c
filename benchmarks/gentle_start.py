"""How gently a pretrained start should be trained: BatchNorm statistics held or not, and the backbone's peak rate.

    python tools/render_parts.py study --out renders/study --variant llvm_ad_rgb --processes 2
    python benchmarks/gentle_start.py --study renders/study --json benchmarks/results/gentle_start.json

The demo's student, from the demo's pool, teacher and start, judged on the study renders: floors and lamps of neither
the pool nor the check pictures, so that what is chosen here (distil/config.py: `norm_with`, `lr_for`) is not chosen on
those.
One row a recipe: accuracy with Wilson's 95 % interval over the study pictures, all seeds together. Two recipes train
side by side, a thread each.
"""

from __future__ import annotations

import argparse
import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
import rows
import torch

from edgedistill.classes.class_vectors import ClassVectors, class_vectors
from edgedistill.classes.prompt_weights import prompt_weights
from edgedistill.classes.templates import template_set
from edgedistill.classes.text_bank import TextBank, build_text_bank
from edgedistill.distil.config import TrainConfig
from edgedistill.distil.evaluate import evaluate
from edgedistill.distil.lesson import Lesson
from edgedistill.distil.loop import train
from edgedistill.distil.methods.prg import PRG
from edgedistill.distil.student_files import load_student
from edgedistill.images.pixels import short_side_for
from edgedistill.images.pool import Pool, scan, scan_check
from edgedistill.labels import Labels
from edgedistill.targets.preprocess import decode, to_pixels
from edgedistill.teacher.fill import TeacherPass, build_store
from edgedistill.teacher.names import find_teacher
from edgedistill.teacher.store import TeacherStore
from edgedistill.teacher.tower import Teacher
from edgedistill.verdict.intervals import wilson

PARTS = Path("examples/parts")


@dataclass(frozen=True)
class Recipe:
    norm: Literal["batch", "start"]
    lr: float
    seed: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", type=Path, required=True, help="class folders of renders, as the tool makes them")
    parser.add_argument("--pool", type=Path, default=PARTS / "pool")
    parser.add_argument("--classes", type=Path, default=PARTS / "labels.txt")
    parser.add_argument("--teacher", default="local-dir:examples/teacher")
    parser.add_argument("--start", type=Path, default=Path("examples/start"))
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=24, help="half of the demo's")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--work", type=Path, default=Path(".edgedistill/gentle_start"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    print(f"{rows.machine()}\n{rows.command()}\n", flush=True)
    prepare(options)
    recipes = [Recipe(norm, lr, seed) for norm, lr, seed in product(("batch", "start"), (3e-4, 1e-4), options.seeds)]
    with ProcessPoolExecutor(2, get_context("spawn")) as workers:
        right = dict(zip(recipes, workers.map(partial(judged, options), recipes), strict=True))
    pictures = len(TeacherStore.open(options.work / "study"))
    lines = [row("teacher", judged_teacher(options), pictures)]
    for norm, lr in product(("batch", "start"), (3e-4, 1e-4)):
        counts = [right[Recipe(norm, lr, seed)] for seed in options.seeds]
        name = f"statistics of {'the start, held' if norm == 'start' else 'each batch'}; rate {lr:g}"
        lines.append(row(name, sum(counts), pictures * len(counts)))
    for line in lines:
        print(f"{line.figure:<48} {line.value:.3f}  {line.low:.3f} .. {line.high:.3f}")
    if options.json:
        facts = {"machine": rows.machine(), "command": rows.command()}
        text = json.dumps([{**asdict(line), "met": line.met, **facts} for line in lines], indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")


def row(figure: str, right: int, pictures: int) -> rows.Row:
    low, high = wilson(right, pictures)
    return rows.Row(figure=figure, value=right / pictures, low=low, high=high, unit="top-1")


def prepare(options: argparse.Namespace) -> None:
    """What the teacher says of both folders and of the prompts, once."""
    teacher: Teacher | None = None
    jobs: list[tuple[str, Pool, int]] = [("pool", scan(options.pool), 8), ("study", _study(options)[0], 1)]
    for name, pictures, views in jobs:
        if not (options.work / name).exists():
            teacher = teacher or Teacher(find_teacher(options.teacher))
            unfinished = options.work / f".{name}"
            side = short_side_for(teacher.image_size, options.size)
            build_store(unfinished, TeacherPass(pictures, teacher, seed=0, views=views, short_side=side))
            unfinished.replace(options.work / name)
    if not (options.work / "text").exists():
        (options.work / "text").mkdir()
        text = Teacher(find_teacher(options.teacher), dtype="float32")
        build_text_bank(text, Labels.read(options.classes), template_set("general")).save(options.work / "text")


def _study(options: argparse.Namespace) -> tuple[Pool, np.ndarray]:
    found = scan_check(options.study, Labels.read(options.classes))
    return found.pool, np.asarray(found.labels)


def judged(options: argparse.Namespace, recipe: Recipe) -> int:
    """How many study pictures the student of this recipe names rightly."""
    torch.set_num_threads(1)
    files, store = find_teacher(options.teacher), TeacherStore.open(options.work / "pool")
    bank, classes = class_list(options)
    every = np.arange(len(store))
    start, _ = load_student(options.start, dim=bank.vectors.shape[2], teacher_hash=files.weight_hash, size=options.size)
    config = TrainConfig(size=options.size, epochs=options.epochs, norm=recipe.norm, lr=recipe.lr,
                         seed=recipe.seed, train_on="cpu", dtype="float32", threads=1)  # fmt: skip
    folder = options.work / f"{recipe.norm}-{recipe.lr:g}-{recipe.seed}-{options.epochs}"
    folder.mkdir(exist_ok=True)
    lesson = Lesson(store=store, rows=every, method=PRG(), classes=classes, bank=bank)
    student = train(start, lesson, config, folder).student
    pool, truth = _study(options)
    pixels = np.stack([to_pixels(decode(pool.read(index)), options.size) for index in range(len(pool))])
    return int((evaluate(student, pixels, classes.baked) == truth).sum())


def judged_teacher(options: argparse.Namespace) -> int:
    guess = (TeacherStore.open(options.work / "study").centre() @ class_list(options)[1].text.T).argmax(axis=1)
    return int((guess == _study(options)[1]).sum())


def class_list(options: argparse.Namespace) -> tuple[TextBank, ClassVectors]:
    """The prompts, weighed on the pool as a build weighs them."""
    bank, store = TextBank.load(options.work / "text"), TeacherStore.open(options.work / "pool")
    mean = find_teacher(options.teacher).mean_feature
    weighting = "zero-shot-pool" if mean is None else "zero-shot"
    weights = prompt_weights(bank, weighting, store.centre_views(np.arange(len(store))), mean)
    return bank, class_vectors(bank, weights, weighting=weighting)


if __name__ == "__main__":
    main()
