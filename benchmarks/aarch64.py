"""Does aarch64 answer what x86 answers? Every student family in every precision, and a whole bundle, under qemu.

    python benchmarks/aarch64.py [--only resnet18 ...] [--images 2] [--python COMMAND] [--json rows.json]

The same graphs on the same images of noise, one at a time, here and in an emulated Python: `make aarch64` makes it, by
tools/aarch64_python.py, and runs this. A figure is the largest difference between two outputs, of probabilities,
embedding and known; its spread is over the images. Weights are random and nobody trained them: this compares the
kernels of two processors, not precisions. BatchNorm has the statistics of noise, so that features neither vanish nor
explode.

Then `run.py doctor` and `run.py verify` of a bundle, whole, and what is decided of it. Nothing is timed: an emulator's
latency says nothing of a board.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rows import Row, report
from torch import nn

from edgedistill.bundle.write import write_bundle
from edgedistill.export.models import TOLERANCE, reload_all
from edgedistill.export.quantise import ONNXRUNTIME, TENSORRT
from edgedistill.verdict.verify import verify
from edgedistill.verdict.words import sentence

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import tiny_bundle  # noqa: E402
from student_graphs import FAMILIES, graphs, int8, photos, student  # noqa: E402

BUNDLE = "bundle"
# How far two processors may be apart. Half rounds at other places where one computes in float32 and one in half: what
# a device's golden answers are held to.
BARS = {"fp32": "<= 1e-05", "fp16": f"<= {TOLERANCE['fp16']}", "int8": "<= 0.01"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parts = [*FAMILIES, BUNDLE]
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, help=f"families, or {BUNDLE}")
    parser.add_argument("--images", type=int, default=2)
    parser.add_argument("--python", type=Path, default=ROOT / ".edgedistill/aarch64/python", help="the emulated one")
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args()
    if not options.python.is_file():
        sys.exit(f"there is no {options.python}\nMake it: make aarch64")
    python = options.python.resolve()
    rows: list[Row] = []
    for name in options.only:
        rows += of_bundle(python) if name == BUNDLE else of_family(name, python, options.images)
        print(f"{name}: done", file=sys.stderr, flush=True)
    print(f"{versions(sys.executable)} here\n{versions(str(python))} emulated")
    report(rows, options.json)


def of_family(name: str, python: Path, images: int) -> list[Row]:
    """A row each of its graphs."""
    size, _ = FAMILIES[name]
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        made = student(name)
        settle(made, size)
        found = graphs(made, Path(folder), size=size)
        found |= {f"int8 for {one.name}": int8(found["fp32"], one) for one in (ONNXRUNTIME, TENSORRT)}
        shown = photos(images + 2, size)[2:]  # not those that int8's ranges were found on
        here = reload_all(list(found.values()), shown)
        check_that_something_is_compared(name, here)
        there = emulated(python, list(found.values()), shown)
    return [
        differences(f"{name}, {precision}", BARS[precision.split()[0]], own, other)
        for precision, own, other in zip(found, here, there)
    ]


def check_that_something_is_compared(name: str, here: list[dict[str, np.ndarray]]) -> None:
    """End the program where an answer does not depend on the image, or int8 answers to the last bit what fp32 does."""
    for graph in here:
        if len(graph["embedding"]) > 1 and np.ptp(graph["embedding"], axis=0).max() < 1e-3:
            sys.exit(f"{name} answers the same to every image")
    if any(np.array_equal(graph["embedding"], here[0]["embedding"]) for graph in here[1:]):
        sys.exit(f"{name} answers the same in two precisions")


def settle(made: nn.Module, size: int) -> None:
    """Give every BatchNorm the mean and variance that noise has there."""
    norms = [one for one in made.modules() if isinstance(one, nn.modules.batchnorm._BatchNorm)]
    for one in norms:
        one.momentum = None  # the plain mean over batches
        one.reset_running_stats()
    made.train()
    with torch.no_grad():
        made(torch.from_numpy(photos(16, size)))
    made.eval()


def emulated(python: Path, models: list[Path], images: np.ndarray) -> list[dict[str, np.ndarray]]:
    """As export.models.reload_all, in the emulated Python."""
    with tempfile.TemporaryDirectory() as name:
        np.save(Path(name) / "images.npy", images)
        package = as_installed(Path(name))
        run(python, "-m", "edgedistill.export.reload", name, *map(str, models), package=package)
        return [dict(np.load(Path(name) / f"{index}.npz", allow_pickle=False)) for index in range(len(models))]


def as_installed(folder: Path) -> Path:
    """A folder to import edgedistill from, by links: where nothing is installed, `targets` does not lie inside it."""
    package = folder / "package/edgedistill"
    package.mkdir(parents=True)
    for part in (*(ROOT / "edgedistill").iterdir(), ROOT / "targets", ROOT / "profiles"):
        (package / part.name).symlink_to(part)
    return package.parent


def differences(figure: str, bar: str, here: dict[str, np.ndarray], there: dict[str, np.ndarray]) -> Row:
    """The largest difference of any output, over all images; low and high: of the best and the worst image."""
    apart = [np.abs(here[name] - there[name]).reshape(len(here[name]), -1).max(axis=1) for name in here]
    of_image = np.max(apart, axis=0)
    worst = float(of_image.max())
    return Row(figure=figure, value=worst, low=float(of_image.min()), high=worst, unit="", bar=bar)


def of_bundle(python: Path) -> Iterator[Row]:
    """A bundle of a tiny student, for any CPU: the one profile that an emulated processor could be taken for."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = write_bundle(Path(folder) / "bundle", tiny_bundle.parts(60, tiny_bundle.profile("cpu")))
        for command, expected in (("doctor", 0), ("verify", 4)):
            done = run(python, str(bundle / "run.py"), command, expected=expected)
            print(f"python run.py {command}\n{done}")
            yield exactly(f"run.py {command}, exit code", expected, expected)
        images = np.load(bundle / "check/images.npy")
        for path in sorted((bundle / "results").glob("*.json")):
            found = json.loads(path.read_text())
            golden, model = found["golden"], found["model"]
            off = golden["max_abs_diff"]
            bar = f"<= {golden['tolerance']:g}"
            yield Row(figure=f"golden set, {model['precision']}", value=off, low=off, high=off, unit="", bar=bar)
            chosen = reload_all([bundle / model["file"]], images)[0]["probabilities"].argmax(axis=1)
            others = int((chosen != np.array(found["predictions"])).sum())
            yield exactly(f"check images with another class, {model['precision']}", others, 0)
            yield exactly(f"queries timed, {model['precision']}", found["latency_ms"]["queries"], 0)
        verdict = verify(bundle, results=[bundle / "results"])
        print(f"{verdict.verdict}: {sentence(verdict)}\n")
        yield exactly("verdict unmeasured for an emulated processor", verdict.reasons == ("emulated",), 1)


def exactly(figure: str, value: float, wanted: float) -> Row:
    return Row(figure=figure, value=value, low=value, high=value, unit="", bar=f"{wanted} .. {wanted}")


def versions(python: str) -> str:
    program = "import platform, onnxruntime as o; print(f'onnxruntime {o.__version__}, {platform.machine()}')"
    return run(Path(python), "-c", program).strip()


def run(python: Path, *arguments: str, expected: int = 0, package: Path | None = None) -> str:
    """What it prints. Ends this program with its last words where the exit code is another."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **({"PYTHONPATH": str(package)} if package else {})}
    # In the package's folder: `-m` looks in the current one first.
    done = subprocess.run(
        [str(python), *arguments], capture_output=True, text=True, errors="replace", env=environment, cwd=package
    )
    if done.returncode != expected:
        sys.exit(f"{python} {' '.join(arguments)}\nended with {done.returncode}, not {expected}: {done.stderr[-2000:]}")
    return done.stdout


if __name__ == "__main__":
    main()
