"""Images made under a teacher: how much of their time the teacher's own passes are, and how many are made in an hour.

    python benchmarks/teacher_engine.py                        the example's teacher on two cores, its start remembered
    python benchmarks/teacher_engine.py --teacher local-dir:DIR --train-on cuda --size 224 --batch 48

Four candidates, interleaved in every round, the same views, dtype, memory format and threads:

    engine    a batch of images as the product makes them, from prompts to pixels. With fewer `--steps` than an image
              has, what is done once for a batch weighs too much, and too few steps are coarse
    passes    the forward and backward passes that the loss cannot do without, on random pixels that lie ready: those of
              the engine's own tower over as many views, and those of the start over as many images, whose statistics
              are matched
    tower     the first of these two alone
    as it is  `passes` with the tower as the teacher brings it, its BatchNorm not folded

No figure depends on what the classes are called: class vectors are random.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import rows
import torch
from torch import nn

from edgedistill.distil.student import Student
from edgedistill.distil.student_files import load_student
from edgedistill.synthesis.objective import BatchNormStatistics
from edgedistill.synthesis.small_tower import small_tower
from edgedistill.synthesis.teacher_engine import ImageRecipe, Sight, TeacherEngine
from edgedistill.teacher.names import find_teacher
from edgedistill.teacher.tower import Teacher

EXAMPLES = Path(__file__).parents[1] / "examples"
CLASSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--teacher", default=f"local-dir:{EXAMPLES / 'teacher'}")
    parser.add_argument(
        "--start", type=Path, default=EXAMPLES / "start", help="a student's folder whose BatchNorm is remembered"
    )
    parser.add_argument("--size", type=int, default=ImageRecipe().size, help="pixels a side of an image")
    parser.add_argument("--look", type=int, help="pixels a side of a view; half of the teacher's own without it")
    parser.add_argument("--batch", type=int, default=ImageRecipe().batch, help="images at once")
    parser.add_argument("--steps", type=int, default=ImageRecipe().steps)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--train-on", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    teacher = Teacher(find_teacher(options.teacher), options.train_on)
    vectors = np.random.default_rng(0).normal(size=(CLASSES, teacher.dim)).astype(np.float32)
    recipe = ImageRecipe(size=options.size, look=options.look, batch=options.batch, steps=options.steps)
    start = untrained(options, teacher)
    remembered = BatchNormStatistics(start.backbone, start.mean.tolist(), start.std.tolist())
    engine = TeacherEngine([Sight.of(teacher, vectors, recipe.look)], recipe, remembered)
    prompts = made_up_prompts(vectors, recipe.batch)
    views = torch.randn(recipe.views * recipe.batch, 3, engine.sights[0].size, engine.sights[0].size)
    views = views.to(teacher.device, teacher.torch_dtype, memory_format=torch.channels_last).requires_grad_()

    images = torch.randn(recipe.batch, 3, recipe.size, recipe.size, device=teacher.device).requires_grad_()

    plain, _ = small_tower(teacher.model.visual, teacher.image_size, engine.sights[0].size)
    plain = plain.to(memory_format=torch.channels_last)

    def passes(tower: nn.Module = engine.sights[0].tower, of_start: bool = True) -> None:
        for _ in range(recipe.steps):
            tower(views).float().sum().backward()
            if of_start:
                start.backbone(images).sum().backward()
        if options.train_on == "cuda":
            torch.cuda.synchronize()

    taken = rows.interleave(
        {
            "engine": lambda: engine.images(prompts, np.arange(recipe.batch), 0),
            "passes": passes,
            "tower": lambda: passes(of_start=False),
            "as it is": lambda: passes(plain),
        },
        rounds=options.rounds,
    )
    whole = ImageRecipe().steps / recipe.steps / recipe.batch
    found = [
        rows.row("engine images/s / necessary passes", taken["passes"] / taken["engine"], "ratio", ">= 0.85"),
        rows.row("engine images/s / passes of the tower alone", taken["tower"] / taken["engine"], "ratio"),
        rows.row("engine images/s / passes with the tower as it is", taken["as it is"] / taken["engine"], "ratio"),
        rows.row("engine, an image", whole * taken["engine"], "s"),
        rows.row("necessary passes of an image", whole * taken["passes"], "s"),
        rows.row("engine images an hour", 3600 / (whole * taken["engine"]), "images"),
    ]
    rows.report(found, options.json)


def untrained(options: argparse.Namespace, teacher: Teacher) -> Student:
    made_for = teacher.files.weight_hash
    student, _ = load_student(options.start, dim=teacher.dim, teacher_hash=made_for, size=teacher.image_size)
    return student.eval().requires_grad_(False).to(teacher.device)


def made_up_prompts(vectors: np.ndarray, count: int) -> Any:
    """As many prompts, the classes in turn."""
    classes = np.arange(count) % len(vectors)
    shares = np.eye(len(vectors), dtype=np.float32)[classes]
    return SimpleNamespace(classes=classes, shares=shares, targets=vectors[classes])


if __name__ == "__main__":
    main()
