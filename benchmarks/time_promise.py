"""How well `--time` keeps its promise: real builds, trained for as long as was asked.

    python benchmarks/time_promise.py --time 60s 120s --json benchmarks/results/time_promise.json

The teacher is the example's (examples/teacher). Each build is one of its own, from generated
photos to a trained student; nothing is exported or measured. What is timed is the stage of training as a user waits
for it: measuring, every epoch, and the few check images. Rows, TIME being as it was asked for:

    TIME training / promised     seconds that training took over seconds asked for
    TIME epochs                  how many were chosen
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np
import rows
from PIL import Image

from edgedistill.line import at_work
from edgedistill.settings import BuildSettings, seconds_of

BAR = "0.85 .. 1.15"
CHECKS = 32
TEACHER = Path(__file__).resolve().parents[1] / "examples" / "teacher"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--time", nargs="+", default=["60s", "120s"])
    parser.add_argument("--rounds", type=int, default=1, help="builds of each time")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--student", default="mobilenetv3_small_050")
    parser.add_argument("--input-size", type=int, default=96)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--train-on", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("edgedistill").setLevel(logging.INFO)
    found = list[rows.Row]()
    for time in options.time:
        ratios, epochs = zip(*(trained(time, options) for _ in range(options.rounds)))
        found.append(rows.row(f"{time} training / promised", ratios, "ratio", BAR))
        found.append(rows.row(f"{time} epochs", epochs, "epochs"))
    rows.report(found, options.json)


def trained(time: str, options: argparse.Namespace) -> tuple[float, int]:
    """(seconds over seconds asked for, epochs) of one build's training, in a folder of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "labels.txt").write_text("washer\nnut\nscrew\n")
        write_photos(folder / "photos", options.images, seed=0)
        write_photos(folder / "check", CHECKS, seed=1)
        asked = BuildSettings(
            profile="cpu",
            classes=folder / "labels.txt",
            images=folder / "photos",
            check=folder / "check",
            teacher=f"local-dir:{TEACHER}",
            teacher_dtype="float32",
            student=options.student,
            student_weights="none",
            student_dtype="float32",
            input_size=options.input_size,
            time=time,
            threads=options.threads,
            train_on=options.train_on,
            work=folder / "work",
            out=folder / "bundle",
        )
        with at_work(asked) as line:
            bank, images = line.text(), line.gather()
            stores = line.store(images)
            line.free_teacher()
            kept = line.training_rows(images, stores)
            classes = line.classes(bank, images, stores, kept)
            check = line.check_set(images, stores, classes)
            began = perf_counter()
            stage = line.distil(asked.seed, stores, kept, bank, classes, check).stage
            seconds = perf_counter() - began
        return seconds / seconds_of(time), stage.inputs["config"]["epochs"]


def write_photos(folder: Path, count: int, seed: int) -> None:
    """JPEGs of short side 256, of blurred noise: about the detail of a photo."""
    folder.mkdir()
    draw = np.random.default_rng(seed)
    for index in range(count):
        coarse = Image.fromarray(draw.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        coarse.resize((341, 256), Image.Resampling.BICUBIC).save(folder / f"{index:05d}.jpg", quality=90)


if __name__ == "__main__":
    main()
