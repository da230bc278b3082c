"""Which method helps, and how much: every way to teach on the same sets, students, views and image-steps.

    python benchmarks/study.py --data photos/trashnet photos/pacs_cartoon photos/pacs_photo photos/pacs_art_painting \\
        photos/pacs_sketch photos/caltech101
    python benchmarks/study.py --page                  the page from the rows alone

From the repository root. One row a run is added to docs/study/results.csv as soon as it is done; a run whose row is
there is not made again, so that the study goes on after an interruption, on another machine, or in pieces (--minutes).
docs/study.md and its pictures are made from the rows.

The sets are the example (examples/parts) and the folders of class folders in --data, halved as real_photos.py halves
them: one half trains without its labels, the other is checked on. The teacher is frozen: its answers are those of the
text vectors as the default weighs them. Every arm has the same student, start, views and image-steps, three seeds, and
keeps its last epoch. What is chosen is chosen on trashnet and pacs_cartoon, which is where the ablations are run.

Three parts, in this order: `methods` (all sets), `ablations` (the two development sets), `convergence` (how soon eikd,
kd and random selection reach 95 % of where they end). --scale cpu fits two cores, --scale gpu is 224 px with larger
students.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import rows
import study_arms
import study_figures
import study_page
import study_runs
import study_sets
from real_photos import lay_out
from study_figures import Line, packed
from study_runs import Answers, Arm, Run, Scale

OUT = Path("docs/study")
SCALES = {
    "cpu": Scale("", str(study_sets.START), 96, 10_000, 6_000, "cpu", "float32", 2),
    "gpu": Scale("resnet18", "auto", 224, 60_000, 60_000, "cuda", "bfloat16", 1),
}
PARTS = ("methods", "ablations", "convergence")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="folders of class folders, beside the example")
    parser.add_argument("--scale", choices=SCALES, default="cpu")
    parser.add_argument("--student", help="with --scale gpu: any timm name")
    parser.add_argument("--size", type=int, help="pixels a side, in place of the scale's")
    parser.add_argument("--image-steps", type=int, help="in place of the scale's")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--arms", nargs="+", help="these alone, by name")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--minutes", type=float, help="begin no run after so many minutes")
    parser.add_argument("--work", type=Path, default=Path(".edgedistill/study"), help="where stores are kept")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--page", action="store_true", help="make the page from the rows, and nothing else")
    options = parser.parse_args()
    scale = scale_of(options)
    options.out.mkdir(parents=True, exist_ok=True)
    if not options.page:
        photos = places(options)
        folders = {name: study_sets.prepare(name, photos[name], scale.size, options.work) for name in photos}
        results = options.out / "results.csv"
        known(results, folders, scale, options.out)
        runs = [
            (part, with_mixed(run, photos, options.work) if run.arm.mixed else run)
            for part, run in wanted(folders, scale, options)
        ]
        work(results, runs, scale, options.minutes)
    study_page.write(options.out)


def scale_of(options: argparse.Namespace) -> Scale:
    scale = SCALES[options.scale]
    return replace(
        scale,
        student=options.student or scale.student,
        size=options.size or scale.size,
        image_steps=options.image_steps or scale.image_steps,
        short_steps=options.image_steps or scale.short_steps,
    )


def places(options: argparse.Namespace) -> dict[str, Path]:
    """Set -> where its photos lie, as a build takes them."""
    photos = {study_sets.EXAMPLE: Path("examples/parts")}
    return photos | {folder.name: lay_out(folder, options.work) for folder in options.data}


def with_mixed(run: Run, photos: dict[str, Path], work: Path) -> Run:
    """The same on the set's store that has mixed views, too."""
    name = study_runs.set_of(run.folder).name
    return replace(run, folder=study_sets.prepare(name, photos[name], run.scale.size, work, mixed=True))


def wanted(folders: dict[str, Path], scale: Scale, options: argparse.Namespace) -> Iterator[tuple[str, Run]]:
    """Every run that was asked for, with its part, the methods first, a seed after the other."""
    development = [name for name in study_sets.DEVELOPMENT if name in folders]
    arms: dict[str, tuple[Sequence[Arm], Sequence[str]]] = {
        "methods": (study_arms.METHODS, list(folders)),
        "ablations": ([arm for group in study_arms.ABLATIONS.values() for arm in group], development),
        "convergence": (study_arms.CONVERGENCE, development),
    }
    for part in options.parts:
        chosen, sets = arms[part]
        for seed in options.seeds:
            for arm in chosen:
                for name in sets:
                    if not options.arms or arm.name in options.arms:
                        steps = scale.image_steps if part == "methods" else scale.short_steps
                        yield part, Run(arm, folders[name], seed, scale, steps, after_every_epoch=part == "convergence")


def known(results: Path, folders: dict[str, Path], scale: Scale, out: Path) -> None:
    """Rows of the frozen teacher and of the untrained start, which no run changes."""
    have = {line.key for line in study_figures.read(results)}
    for folder in folders.values():
        for name, answers in (
            ("teacher", study_runs.of_teacher(folder)),
            ("start", study_runs.untrained(folder, scale)),
        ):
            if answers is not None:
                line = row("methods", Run(Arm(name), folder, -1, scale, scale.image_steps), answers)
                if line.key not in have:
                    study_figures.append(results, [line])


def work(results: Path, runs: list[tuple[str, Run]], scale: Scale, minutes: float | None) -> None:
    """Make the runs that have no row yet, as many at once as the scale says."""
    have = {line.key for line in study_figures.read(results)}
    left = [(part, run) for part, run in runs if key(part, run) not in have]
    print(f"{rows.machine()}\n{len(runs) - len(left)} runs of {len(runs)} have their row", flush=True)
    began, context = time.monotonic(), multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(scale.workers, mp_context=context) as pool:
        waiting, pending = list(reversed(left)), dict[Future[Answers], tuple[str, Run]]()
        while waiting or pending:
            late = minutes is not None and time.monotonic() - began > 60 * minutes
            while waiting and len(pending) < scale.workers and not late:
                part, run = waiting.pop()
                pending[pool.submit(study_runs.answer, run)] = part, run
            if not pending:
                break
            done = next((future for future in pending if future.done()), None)
            if done is None:
                time.sleep(0.2)
                continue
            part, run = pending.pop(done)
            line = row(part, run, done.result())
            study_figures.append(results, [line])
            tell(line, len(waiting) + len(pending))
    if waiting:
        print(f"{len(waiting)} runs are left: run the same command again", flush=True)


def key(part: str, run: Run) -> tuple[object, ...]:
    return part, run.arm.name, study_runs.set_of(run.folder).name, run.seed, run.scale.size, run.image_steps


def row(part: str, run: Run, answers: Answers) -> Line:
    return Line(
        part=part,
        arm=run.arm.name,
        set=study_runs.set_of(run.folder).name,
        seed=run.seed,
        size=run.scale.size,
        image_steps=run.image_steps,
        trained=answers.rows,
        epochs=answers.epochs,
        seconds=round(answers.seconds, 1),
        photos=len(answers.right),
        accuracy=round(float(answers.right.mean()), 5),
        agreement=round(float(answers.same.mean()), 5),
        right=packed(answers.right),
        accuracies=" ".join(f"{value:.4f}" for value in answers.accuracies),
        machine=rows.machine(),
    )


def tell(line: Line, left: int) -> None:
    print(
        f"{line.part:<12} {line.arm:<28} {line.set:<18} seed {line.seed}  top-1 {line.accuracy:.3f}  "
        f"agreement {line.agreement:.3f}  {line.seconds:.0f} s, {left} left",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
