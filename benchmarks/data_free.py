"""What a student knows of real photos that learned from class names alone: every way of prompts on the same sets.

    python benchmarks/data_free.py --data photos/pacs_photo photos/pacs_art_painting photos/pacs_cartoon \\
        photos/pacs_sketch
    python benchmarks/data_free.py --report --json benchmarks/results/data_free.json    the table, from the rows alone

From the repository root. One row a run is added to --out as soon as it is done; a run whose row is there is not made
again, so that it goes on after an interruption or in pieces (--minutes), and every stage is kept under --work.

Images are made once for a way, a seed and a list of classes: PACS's four sets share one list. With the defaults that
is 8 images a class of 40 steps each: 4 ways x 2 seeds x (6 + 7 classes) x 8 = 832 images, and 100 students of 4,000
image-steps each. What counts is which way is the better one at the same cost: a product's build makes five times the
images.

The sets are the example (examples/parts) and the folders of class folders in --data, halved as real_photos.py halves
them; students are checked on the real photos of one half. Arms, all with the same student, start and image-steps:

    teacher, start                    frozen, and before training
    plain, mix, random, contrastive   images made under the teacher, nothing else
    photos                            five real photos a class on average, unlabelled, and no image that was made
    mix and photos, ...               both: the very images of `mix`, and the very photos of `photos`
    mix and photos, moved             the same, BatchNorm's statistics moved to the photos (--option photos_prior=16)

All students are taught by the same method, that of images that were made.

Rows are as study.py writes them: which check photos each student got right. Differences are paired by photo.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rows
import study_figures
import study_sets
from real_photos import lay_out
from study_figures import Line, packed

from edgedistill.distil.evaluate import evaluate
from edgedistill.labels import Labels
from edgedistill.line import at_work
from edgedistill.settings import BuildSettings
from edgedistill.synthesis.stages import together

WAYS = ("plain", "mix", "random", "contrastive")
PHOTOS = 5  # of a class
PER_CLASS = 8
IMAGE_STEPS = 4_000
BATCH = 24  # the default, a quarter of so few images, is too few for an idle core


@dataclass(frozen=True)
class Run:
    """One student: `way` of prompts, "" without images that are made; `photos` with the few real ones; `moved` with
    statistics that were moved to these."""

    where: str
    way: str
    photos: bool
    seed: int
    moved: bool = False

    @property
    def arm(self) -> str:
        return " and ".join([self.way] * bool(self.way) + ["photos"] * self.photos) + ", moved" * self.moved


def main() -> None:
    options = parsed()
    sets = {study_sets.EXAMPLE: Path("examples/parts")} if options.example else {}
    sets |= {folder.name: lay_out(folder, options.work) for folder in options.data}
    if not options.report:
        work(sets, options)
    lines = study_figures.read(options.out)
    rows.report(report(lines), options.json, measured_on="; ".join(dict.fromkeys(line.machine for line in lines)))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="folders of class folders, beside the example")
    parser.add_argument("--no-example", dest="example", action="store_false")
    parser.add_argument("--teacher", default=study_sets.TEACHER)
    parser.add_argument("--start", default=str(study_sets.START), help="as --student-weights of a build")
    parser.add_argument("--student", help="any timm name; the start's own without it")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--per-class", type=int, default=PER_CLASS)
    parser.add_argument("--image-steps", type=int, default=IMAGE_STEPS)
    parser.add_argument("--ways", nargs="+", default=list(WAYS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--train-on", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--minutes", type=float, help="begin no run after so many minutes")
    parser.add_argument("--work", type=Path, default=Path(".edgedistill/data-free"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/data_free.csv"))
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--json", type=Path, help="write the report's rows there")
    return parser.parse_args()


def work(sets: dict[str, Path], options: argparse.Namespace) -> None:
    """Make the runs that have no row yet, one after the other."""
    have, began = {line.key for line in study_figures.read(options.out)}, time.monotonic()
    for run in wanted(sets, options):
        if line_of(run, options).key in have:
            continue
        if options.minutes is not None and time.monotonic() - began > 60 * options.minutes:
            print("runs are left: run the same command again", flush=True)
            return
        for line in made(run, sets[run.where], options):
            if line.key not in have:
                study_figures.append(options.out, [line])
                have.add(line.key)
                print(f"{line.arm:<24} {line.set:<18} seed {line.seed:>2}  top-1 {line.accuracy:.3f}", flush=True)


def wanted(sets: dict[str, Path], options: argparse.Namespace) -> Iterator[Run]:
    """What matters most first, so that a run in pieces has it."""
    kinds = [(way, False, False) for way in options.ways], [("", True, False)]
    kinds += [(way, True, False) for way in options.ways], [("mix", True, True)] * ("mix" in options.ways)
    for kind in kinds:
        for seed in options.seeds:
            for way, photos, moved in kind:
                for where in sets:
                    yield Run(where, way, photos, seed, moved)


def made(run: Run, place: Path, options: argparse.Namespace) -> Iterator[Line]:
    """Train, and ask; rows of the frozen teacher and of the untrained start come with it."""
    began = time.monotonic()
    with at_work(asked(run, place, options)) as line:
        bank, images = line.text(), line.gather()
        stores = line.store(images)
        line.free_teacher()
        kept = line.training_rows(images, stores)
        classes = line.classes(bank, images, stores, kept)
        check = line.check_set(images, stores, classes)
        epochs = max(1, round(options.image_steps / len(kept.rows)))
        line.settings = dataclasses.replace(line.settings, epochs=epochs)
        trained = line.distil(run.seed, stores, kept, bank, classes, check)
        student, known = line.start.finished(trained.stage), check.labelled
        answers = {"teacher": check.teacher_class, run.arm: evaluate(student, check.images, classes.baked)}
        before, fits = line.start.untrained(run.seed)
        if fits:
            answers["start"] = evaluate(before, check.images, classes.text)
    for arm, chosen in answers.items():
        right, same = (chosen == check.labels)[known], (chosen == check.teacher_class)[known]
        own = arm == run.arm
        yield dataclasses.replace(
            line_of(run, options),
            arm=arm,
            seed=run.seed if own else -1,
            trained=len(kept.rows) if own else 0,
            epochs=epochs if own else 0,
            seconds=round(time.monotonic() - began, 1) if own else 0.0,
            photos=len(right),
            accuracy=round(float(right.mean()), 5),
            agreement=round(float(same.mean()), 5),
            right=packed(right),
        )


def line_of(run: Run, options: argparse.Namespace) -> Line:
    """The row of a run that is not made yet."""
    return Line(
        part=f"data-free, {options.per_class} a class",
        arm=run.arm,
        set=run.where,
        seed=run.seed,
        size=options.size,
        image_steps=options.image_steps,
        trained=0,
        epochs=0,
        seconds=0.0,
        photos=0,
        accuracy=0.0,
        agreement=0.0,
        accuracies="",
        machine=rows.machine(),
        right="",
    )


def asked(run: Run, place: Path, options: argparse.Namespace) -> BuildSettings:
    own: dict[str, Any] = {}
    if run.way and not run.photos:
        own = {"diversify": run.way, "per_class": options.per_class}
    elif run.photos:
        own["images"] = few(place, options.work / f"few-{run.where}")
    if run.way and run.photos:  # beside the images of the way alone: --synthesize would make fewer of them, but anew
        with at_work(asked(dataclasses.replace(run, photos=False, moved=False), place, options)) as line:
            own["images"] = together(line.work, line.photos(), own["images"])
    return BuildSettings(
        profile="cpu",
        classes=place / "labels.txt",
        check=place / "check",
        teacher=options.teacher,
        student=options.student,
        student_weights=options.start,
        input_size=options.size,
        seed=run.seed,
        method="data-free",
        option=("photos_prior=16",) if run.moved else (),
        batch=BATCH,
        refine="none",
        student_dtype="float32",
        train_on=options.train_on,
        work=options.work / "stages",
        out=options.work / "none",
        **own,
    )


def few(place: Path, folder: Path) -> Path:
    """PHOTOS a class of the pool on average, those of the lowest hashes, in a folder of links; made once."""
    if not folder.is_dir():
        partial = folder.with_suffix(".part")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        count = PHOTOS * len(Labels.read(place / "labels.txt"))
        for photo in sorted((place / "pool").iterdir())[:count]:
            (partial / photo.name).symlink_to(photo.resolve())
        os.rename(partial, folder)
    return folder


def report(lines: list[Line]) -> list[rows.Row]:
    """Of each arm: top-1 and agreement, the mean over sets and seeds with the lowest and the highest set; and how many
    points of top-1 it is from the start, from plain and from photos alone, with 95 % intervals."""
    names = dict.fromkeys(("teacher", "start", *(line.arm for line in lines)))
    arms = {arm: [line for line in lines if line.arm == arm] for arm in names}
    arms = {arm: own for arm, own in arms.items() if own}  # a start that was not made for the teacher has no rows
    found = []
    for arm, own in arms.items():
        for figure in ("accuracy", "agreement"):
            of_set: dict[str, list[float]] = {}
            for line in own:
                of_set.setdefault(line.set, []).append(getattr(line, figure))
            means = [float(np.mean(values)) for values in of_set.values()]
            found.append(
                rows.Row(figure=f"{arm}/{figure}", value=np.mean(means), low=min(means), high=max(means), unit="share")
            )
        for other in ("start", "plain", "photos"):
            if arm not in ("teacher", "start", other) and arms.get(other):
                apart = study_figures.difference(own, arms[other])
                found.append(
                    rows.Row(
                        figure=f"{arm}/less {other}",
                        value=apart.value,
                        low=apart.low,
                        high=apart.high,
                        unit="points",
                    )
                )
                for where, value in apart.sets.items():
                    name = f"{arm}/less {other}, {where}"
                    found.append(rows.Row(figure=name, value=value, low=value, high=value, unit="points"))
    return found


if __name__ == "__main__":
    main()
