"""What the build makes of real photos: `make demo`'s build on folders of class folders, seed after seed.

    python benchmarks/real_photos.py --data photos/trashnet photos/pacs_photo photos/caltech101 --seeds 0 1 2 \\
        --json benchmarks/results/real_photos.json

From the repository root. Each class folder is halved by the SHA-256 of its photos: the lower half is checked on, the
upper half lies in one flat pool whose file names are those hashes. Classes are named as zero_shot.py names them. Every
build is a process of `edgedistill build`; a failed verdict is a result. Run again after an interruption: splits,
stages and builds with a verdict are kept under --work.

Rows, in this order; SET is the folder's name, all quality is measured on the check half:

    SET/teacher            top-1 of the teacher under the prompts as the build weighs them
    SET/start              top-1 of the student before it saw any photo of the set
    SET/student            top-1 of the built model
    SET/difference         student minus teacher, in points of top-1
    SET/start-agreement    how often the student chose as the teacher before training
    SET/student-agreement  the same of the built model
    SET/pool               unlabelled photos given to the build
    SET/trained            those that trained: readable, and no near-copy of a check photo
    SET/check              check photos
    SET/passed             share of the builds whose verdict is `pass`
    SET/seconds            of a build from start to verdict; only the first seed also makes what the seeds share

`value` is the mean over the seeds. `low` and `high` are the lowest and highest seed, but for teacher, start and
start-agreement, which no seed changes: there they are Wilson's 95 % interval over the check photos. `seeds` holds every
seed's own {value, low, high}, with the 95 % interval over the check photos (of the paired difference for `difference`);
for `passed` also verdict, reasons and build_id. The rows of the start are left out where there is no such figure (a
student from scratch), and from `seconds` a build that was interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import rows
from zero_shot import read_folder

from edgedistill import __version__
from edgedistill.bundle.content import BUNDLE
from edgedistill.classes.stages import TEXT
from edgedistill.distil.stages import ANSWERS, DISTIL
from edgedistill.distil.student_start import plan
from edgedistill.labels import Labels
from edgedistill.profiles import load_profile
from edgedistill.teacher.names import find_teacher
from edgedistill.teacher.stores import STORE
from edgedistill.verdict.intervals import wilson
from edgedistill.work import atomic

Estimate = dict[str, Any]  # value, low, high: floats
Summary = tuple[rows.Row, dict[str, Estimate]]  # a row, and every seed's own estimate of it

UNITS = {  # of the figures, in the order of the rows
    "teacher": "top-1",
    "start": "top-1",
    "student": "top-1",
    "difference": "points",
    "start-agreement": "share",
    "student-agreement": "share",
    "pool": "photos",
    "trained": "photos",
    "check": "photos",
    "passed": "of builds",
    "seconds": "s",
}
SHOWN = {"top-1": ".3f", "share": ".3f", "points": "+.1f", "photos": ".0f", "of builds": ".2f", "s": ".0f"}
SEEDLESS = ("teacher", "start", "start-agreement")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="folders of class folders")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--profile", default="cpu", help="as `edgedistill build` takes it")
    parser.add_argument("--teacher", default="local-dir:examples/teacher", help="as `edgedistill build` takes it")
    parser.add_argument("--start", default="examples/start", help="as `edgedistill build --student-weights` takes it")
    parser.add_argument("--input-size", type=int, default=160)
    parser.add_argument("--epochs", type=int, help="the build's own choice if not given")
    parser.add_argument("--work", type=Path, default=Path(".edgedistill/real_photos"), help="where all of it is kept")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    names = [folder.name for folder in options.data]
    if len(set(names)) < len(names):
        parser.error("two folders of --data bear the same name")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)

    print(f"{rows.machine()}\n{rows.command()}\n", flush=True)
    facts = {"machine": rows.machine(), "command": rows.command()}
    key = recipe(options)
    lines = []
    for name, photos in [(folder.name, lay_out(folder, options.work)) for folder in options.data]:
        found = summarise(name, {seed: figures(photos, *build(photos, options, key, seed)) for seed in options.seeds})
        print_table(name, len(Labels.read(photos / "labels.txt")), options.seeds, found)
        lines += [{**asdict(line), "met": line.met, "seeds": seeds, **facts} for line, seeds in found]
    if options.json:
        atomic.write_bytes(options.json, f"{json.dumps(lines, indent=1)}\n".encode())


# ---- photos ----------------------------------------------------------------------------------------------------------


def halve(files: Iterable[Path]) -> tuple[dict[str, Path], dict[str, Path]]:
    """(pool, check) of files in class folders, as content hash -> a file of that content.

    Equal files count once. The lower half of a class's hashes is checked on, the odd one trains. A photo that lies in
    two class folders has no true class: it is in neither.
    """
    place: dict[str, Path] = {}
    ambiguous = set()
    for path in files:
        content = atomic.sha256_file(path)
        if place.setdefault(content, path).parent != path.parent:
            ambiguous.add(content)
    of_class: dict[Path, list[str]] = {}
    for content in sorted(place.keys() - ambiguous):
        of_class.setdefault(place[content].parent, []).append(content)
    check = {content: place[content] for ranked in of_class.values() for content in ranked[: len(ranked) // 2]}
    pool = {content: place[content] for ranked in of_class.values() for content in ranked[len(ranked) // 2 :]}
    return pool, check


def lay_out(folder: Path, work: Path) -> Path:
    """A folder under `work` with labels.txt, pool/HASH and check/CLASS/HASH, whole or not there; made once."""
    files, _, labels = read_folder(folder)
    pool, check = halve(files)
    inside = {f"pool/{content}": path for content, path in pool.items()}
    inside |= {f"check/{path.parent.name}/{content}": path for content, path in check.items()}
    key = atomic.digest({"labels": labels.to_json(), "photos": sorted(inside)})[:16]
    photos, partial = work / f"{folder.name}-{key}", work / f".{folder.name}-{key}.partial"
    if not photos.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
        for name, path in inside.items():
            (partial / name).parent.mkdir(parents=True, exist_ok=True)
            _link(path.resolve(), partial / name)
        listed = "".join(f"{' | '.join(label.words)}\n" for label in labels.entries)
        (partial / "labels.txt").write_text(listed, encoding="utf-8")
        atomic.publish(partial, photos)
    return photos


def _link(path: Path, other: Path) -> None:
    try:
        os.link(path, other)
    except OSError:  # another disk, or one without hard links
        shutil.copyfile(path, other)


# ---- builds ----------------------------------------------------------------------------------------------------------


def recipe(options: argparse.Namespace) -> str:
    """Names all that a bundle depends on beside photos and seed, weights by their content."""
    profile, teacher = load_profile(options.profile), find_teacher(options.teacher)
    mean = None if teacher.mean_feature is None else teacher.mean_feature.tolist()
    inputs = {
        "edgedistill": [__version__, TEXT, STORE, DISTIL, ANSWERS, BUNDLE],
        "profile": profile.to_json(),
        "teacher": [teacher.weight_hash, teacher.transform_id, mean],
        "start": plan(None, options.start, profile.model.student, options.input_size).key,
        "size": options.input_size,
        "epochs": options.epochs,
    }
    return atomic.digest(inputs)[:16]


def build(photos: Path, options: argparse.Namespace, key: str, seed: int) -> tuple[dict[str, Any], float | None]:
    """(verdict.json's content, the build's seconds or None if it was interrupted once), built now or before.

    A build that stops for another reason than its verdict ends the script with its exit code; it has said why.
    """
    out = photos / f"bundle-{seed}-{key}"
    clock = out.with_name(f"{out.name}.seconds")  # empty from the start of a build on, until it ends
    if not decided(out):
        command: list[object] = [sys.executable, "-m", "edgedistill", "build", "--profile", options.profile]
        command += ["--classes", photos / "labels.txt", "--images", photos / "pool", "--check", photos / "check"]
        command += ["--teacher", options.teacher, "--student-weights", options.start]
        command += ["--input-size", options.input_size, "--seed", seed, "--work", options.work / "stages", "--out", out]
        command += ["--epochs", options.epochs] if options.epochs else []
        first = not clock.exists()
        clock.touch()
        began = time.monotonic()
        code = subprocess.run([str(word) for word in command]).returncode
        if code not in (0, 3):
            raise SystemExit(code)
        if first:
            clock.write_text(f"{time.monotonic() - began:.1f}")
    verdict = json.loads((out / "verdict.json").read_text(encoding="utf-8"))
    seconds = clock.read_text() if clock.exists() else ""
    return verdict, float(seconds) if seconds else None


def decided(bundle: Path) -> bool:
    """Whether it is finished. An unmeasured one (a throttled run, say) is worth another try, which repeats no stage."""
    verdict = bundle / "verdict.json"
    return verdict.exists() and json.loads(verdict.read_text(encoding="utf-8"))["verdict"] != "unmeasured"


# ---- figures ---------------------------------------------------------------------------------------------------------


def figures(photos: Path, verdict: dict[str, Any], seconds: float | None) -> dict[str, Estimate]:
    """What one build says, by the names of UNITS."""
    accuracy, agreement, start = verdict["accuracy"], verdict["agreement"], verdict["start"]
    labelled, checked = accuracy["images"], agreement["images"]
    pool = len(list((photos / "pool").iterdir()))
    found = {
        "teacher": _share(accuracy["teacher"], labelled),
        "student": _share(accuracy["student"], labelled),
        "difference": {
            "value": 100 * (accuracy["student"] - accuracy["teacher"]),
            "low": 100 * accuracy["low"],
            "high": 100 * accuracy["high"],
        },
        "student-agreement": _share(agreement["value"], checked),
        "pool": _plain(pool),
        "trained": _plain(pool - sum(verdict["skipped"]["images"].values())),
        "check": _plain(checked),
        "passed": _plain(verdict["verdict"] == "pass")
        | {name: verdict[name] for name in ("verdict", "reasons", "build_id")},
    }
    if start is not None:
        found["start"] = _share(start["accuracy"], labelled)
        found["start-agreement"] = _share(start["agreement"], checked)
    if seconds is not None:
        found["seconds"] = _plain(seconds)
    return found


def _share(value: float, images: int) -> Estimate:
    low, high = wilson(round(value * images), images)
    return {"value": value, "low": low, "high": high}


def _plain(number: float) -> Estimate:
    return dict.fromkeys(("value", "low", "high"), float(number))


def summarise(name: str, built: dict[int, dict[str, Estimate]]) -> list[Summary]:
    """The rows of a set: each figure over its seeds."""
    found = []
    for figure, unit in UNITS.items():
        seeds = {str(seed): one[figure] for seed, one in built.items() if figure in one}
        if not seeds:
            continue
        value, low, high = (statistics.mean(one[part] for one in seeds.values()) for part in ("value", "low", "high"))
        if figure not in SEEDLESS:
            values = [one["value"] for one in seeds.values()]
            low, high = min(values), max(values)
        found.append((rows.Row(figure=f"{name}/{figure}", value=value, low=low, high=high, unit=unit), seeds))
    return found


def print_table(name: str, classes: int, seeds: Sequence[int], found: Sequence[Summary]) -> None:
    heading = "".join(f"{f'seed {seed}':>12}" for seed in seeds)
    print(f"\n{f'{name}, {classes} classes':<28}{'value':>8}{'low .. high':>20}{heading}")
    for line, of_seed in found:
        show = f"{{:{SHOWN[line.unit]}}}".format
        own = [of_seed.get(str(seed), {}) for seed in seeds]
        words = [one.get("verdict", show(one["value"])) if one else "-" for one in own]
        what, spread = f"{line.figure.removeprefix(f'{name}/')}, {line.unit}", f"{show(line.low)} .. {show(line.high)}"
        print(f"{what:<28}{show(line.value):>8}{spread:>20}" + "".join(f"{word:>12}" for word in words))
    print(flush=True)


if __name__ == "__main__":
    main()
