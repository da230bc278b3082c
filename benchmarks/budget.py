"""What more training and more views buy: the same build with one and five times the image-steps, 8 and 16 views.

    python benchmarks/budget.py --data photos/trashnet photos/pacs_cartoon --json benchmarks/results/budget.json

From the repository root. The sets are the example (examples/parts) and the folders of class folders in --data, halved
as real_photos.py halves them: sets on which choices are made, so that results on them say less than on others. x1 is
the default budget of a CPU: about 60,000 image-steps, 20 to 100 epochs. Images are 96 px, unless --input-size says
otherwise, so that all of it ends within two hours on two cores.

Builds are processes of `edgedistill build`, none is measured for latency; run again after an interruption, what was
built is kept under --work. Rows, CELL being for example `x5 V16`, SET the folder's name:

    SET/CELL accuracy     top-1 of the student on the check half, Wilson's 95 % interval
    SET/CELL agreement    how often it chooses as the teacher does, the same interval
    SET/CELL gain         points of top-1 over `x1 V8` of the same set, 95 % interval for paired answers
    mean/CELL gain        the mean of the sets' gains, with the lowest and the highest set
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

import numpy as np
import rows
from real_photos import lay_out

from edgedistill.distil.config import epochs_for
from edgedistill.verdict.intervals import paired_difference, wilson
from edgedistill.work.atomic import sha256_file

EXAMPLE = "parts"
CELLS = {"x1 V8": (1, 8), "x5 V16": (5, 16), "x5 V8": (5, 8), "x1 V16": (1, 16)}  # (times the epochs, views)
BASE = "x1 V8"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="*", default=[], help="folders of class folders, beside the example")
    parser.add_argument("--cells", nargs="+", default=list(CELLS), choices=CELLS, metavar="CELL")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--input-size", type=int, default=96)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--train-on", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--work", type=Path, default=Path(".edgedistill/budget"), help="where all of it is kept")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    sets = {EXAMPLE: Path("examples/parts"), **{folder.name: lay_out(folder, options.work) for folder in options.data}}
    bundles = {
        (name, cell, seed): build(photos, name, cell, seed, options)
        for cell in options.cells
        for name, photos in sets.items()
        for seed in options.seeds
    }
    rows.report(figures(bundles, list(sets), options), options.json)


def build(photos: Path, name: str, cell: str, seed: int, options: argparse.Namespace) -> Path:
    """The bundle of one set in one cell, built now or before. Ends the script where a build stops; it has said why."""
    times, views = CELLS[cell]
    out = options.work / f"{name}-{options.input_size}-{cell.replace(' ', '-')}-{seed}"
    if not (out / "manifest.json").is_file():
        epochs = times * epochs_for(len(list((photos / "pool").iterdir())))
        command: list[object] = [sys.executable, "-m", "edgedistill", "build", "--profile", "cpu", "--device", "folder"]
        command += ["--classes", photos / "labels.txt", "--images", photos / "pool", "--check", photos / "check"]
        command += ["--teacher", "local-dir:examples/teacher", "--student-weights", "examples/start"]
        command += ["--input-size", options.input_size, "--epochs", epochs, "--views", views, "--seed", seed]
        command += ["--train-on", options.train_on, "--work", options.work / "stages", "--out", out]
        command += ["--threads", options.threads] if options.threads else []
        code = subprocess.run([str(word) for word in command]).returncode
        if code:
            raise SystemExit(code)
    return out


def figures(bundles: dict[tuple[str, str, int], Path], sets: list[str], options: argparse.Namespace) -> list[rows.Row]:
    """All seeds of a set in a cell are one long list of answers."""
    stages = options.work / "stages"
    found, gains = list[rows.Row](), dict[str, list[float]]()
    for name in sets:
        right, same = dict[str, np.ndarray](), dict[str, np.ndarray]()
        for cell in options.cells:
            answers = [answered(bundles[name, cell, seed], stages) for seed in options.seeds]
            right[cell], same[cell] = (np.concatenate(part) for part in zip(*answers))
            found += [share(f"{name}/{cell} accuracy", right[cell]), share(f"{name}/{cell} agreement", same[cell])]
        for cell in options.cells:
            if cell != BASE and BASE in right:
                better, worse = (right[cell] & ~right[BASE]).sum(), (~right[cell] & right[BASE]).sum()
                value, low, high = (100 * x for x in paired_difference(int(better), int(worse), len(right[cell])))
                found.append(rows.Row(figure=f"{name}/{cell} gain", value=value, low=low, high=high, unit="points"))
                gains.setdefault(cell, []).append(value)
    for cell, values in gains.items():
        mean = statistics.mean(values)
        found.append(rows.Row(figure=f"mean/{cell} gain", value=mean, low=min(values), high=max(values), unit="points"))
    return found


def answered(bundle: Path, stages: Path) -> tuple[np.ndarray, np.ndarray]:
    """bool [M] each: which labelled check images the bundle's student gets right, and where it agrees with the teacher.

    The answers are those of training's own stage: the student whose weights the bundle has.
    """
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    wanted = manifest["files"]["student.safetensors"]
    (trained,) = [file.parent for file in stages.glob("distil-*/student.safetensors") if sha256_file(file) == wanted]
    for stage in stages.glob("answers-*"):
        if json.loads((stage / "inputs.json").read_text(encoding="utf-8"))["student"] == trained.name:
            chosen = np.array(json.loads((stage / "answers.json").read_text(encoding="utf-8"))["after"])
            labels, teacher = (np.load(bundle / "check" / name) for name in ("labels.npy", "teacher_class.npy"))
            known = labels >= 0
            return (chosen == labels)[known], (chosen == teacher)[known]
    sys.exit(f"{stages}: no answers of {trained.name}")


def share(figure: str, hits: np.ndarray) -> rows.Row:
    low, high = wilson(int(hits.sum()), len(hits))
    return rows.Row(figure=figure, value=float(hits.mean()), low=low, high=high, unit="share")


if __name__ == "__main__":
    main()
