"""Which precision a build chooses, what that gains and what it costs: against fp32, and against onnxruntime's default.

    python benchmarks/precision.py --json benchmarks/results/precision.json
    python benchmarks/precision.py --students resnet18 --photos 60 --epochs 1 --views 1 --input-size 64 --rounds 10

From the repository root, on an otherwise idle machine. Every student is built by `edgedistill build` for the profile
`cpu` from the example: its teacher, the first --photos of its pool, its check photos with their true classes. The first
student begins as examples/start; the others begin with published weights where the hub is in reach, else from scratch,
so that they are taught the example's parts and little else in a few epochs. That is enough for what is compared here,
one and the same student in several precisions. The teacher looks at the photos once for all of them. What was built
is kept under --work.

"default int8" is `onnxruntime.quantization.quantize_static` as it is called with a model and photos alone: the same
fp32 file and the same number of photos. All models are then timed in one run, in turns, one image at a time, each with
as many threads as the verdict measured it with (default int8: as int8). Rows, NAME being the student:

    NAME/bits                        of the precision that the build chose
    NAME/fp32, NAME/chosen           ms, the median over rounds
    NAME/chosen to fp32              the ratio of their times, round by round
    NAME/chosen to default           the same against default int8
    NAME/int8 to fp32                of the build's int8, whether it was chosen or not
    NAME/accuracy, fp32              share of the check photos that it calls by their true class, Wilson's interval
    NAME/accuracy lost               points that fp32 has more than the chosen one, 95 % interval for paired answers
    NAME/accuracy over default       the high end of what it has more than default int8: below 0 would be a real loss
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import edgedistill.export  # noqa: F401  # first: it turns onnxruntime's telemetry off

# isort: split
import numpy as np
import onnxruntime
import rows
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from edgedistill.api import build
from edgedistill.errors import InputError
from edgedistill.targets import cores
from edgedistill.targets.manifest import Manifest, read_manifest
from edgedistill.targets.preprocess import decode, to_pixels
from edgedistill.verdict.intervals import paired_difference, wilson
from edgedistill.verdict.verdict import Verdict, read_verdict

EXAMPLE = Path(__file__).resolve().parents[1] / "examples"
STARTED = "tf_mobilenetv3_small_100"  # what examples/start holds
STUDENTS = (STARTED, "mobilenetv3_large_100", "mobilenetv2_100", "resnet18", "resnet50")
HALVED = ("resnet18", "resnet50")  # where the processor multiplies bytes, int8 has to take half of fp32's time
CALIBRATING = 128
BITS = {"fp32": 32, "fp16": 16, "int8": 8}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--students", nargs="+", default=list(STUDENTS), metavar="NAME")
    parser.add_argument("--photos", type=int, default=300, help="of the pool to train on")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--input-size", type=int, default=224)
    parser.add_argument("--check", type=int, default=0, metavar="N", help="of the check photos; default: all")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--work", type=Path, default=Path(".edgedistill/precision"), help="where all of it is kept")
    parser.add_argument("--json", type=Path, help="put the rows of these students there")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    logging.getLogger("edgedistill").setLevel(logging.INFO)
    found = list[rows.Row]()
    for name in options.students:
        bundle, verdict = built(name, options)
        if verdict.verdict == "unmeasured":
            print(f"{name}: no precision was chosen ({', '.join(verdict.reasons)}): fp32 stands for it")
        found += figures(name, read_manifest(bundle), verdict.selected, options)
    rows.report(found, options.json, lambda row: row["figure"].partition("/")[0], STUDENTS)


def built(name: str, options: argparse.Namespace) -> tuple[Path, Verdict]:
    """The bundle of one student and its verdict, made now or before. Ends the script where a build stops."""
    work: Path = options.work
    settings = f"{options.input_size}-{options.photos}-{options.epochs}-{options.views}-{options.check}"
    out = work / f"{name}-{settings}"
    if (out / "verdict.json").is_file():
        return out, read_verdict(out)
    photos = first_files(EXAMPLE / "parts/pool", work / f"pool-{options.photos}", options.photos)
    check = EXAMPLE / "parts/check"
    try:
        return out, build(
            profile="cpu",
            classes=EXAMPLE / "parts/labels.txt",
            images=photos,
            check=first_files(check, work / f"check-{options.check}", options.check) if options.check else check,
            teacher=f"local-dir:{EXAMPLE / 'teacher'}",
            student=name,
            student_weights=EXAMPLE / "start" if name == STARTED else "auto",
            input_size=options.input_size,
            epochs=options.epochs,
            views=options.views,
            work=work / "stages",
            out=out,
        )
    except InputError as error:
        raise SystemExit(f"{error.wrong}\n{error.todo}") from error


def first_files(source: Path, folder: Path, count: int) -> Path:
    """A folder with `count` files of `source`, class folder after class folder in turn where it has such folders."""
    if not folder.is_dir():
        parts = [sorted(path.iterdir()) for path in sorted(source.iterdir()) if path.is_dir()]
        parts = parts or [sorted(source.iterdir())]
        in_turn = (path for row in itertools.zip_longest(*parts) for path in row if path is not None)
        for path in itertools.islice(in_turn, count):
            copy = folder / path.relative_to(source)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
    return folder


def figures(name: str, manifest: Manifest, selected: str, options: argparse.Namespace) -> list[rows.Row]:
    """The rows of one student."""
    default = options.work / f"{manifest.path.name}-default.onnx"
    if not default.is_file():
        pool = sorted((options.work / f"pool-{options.photos}").iterdir())[:CALIBRATING]
        quantize_static(manifest.file("models/fp32.onnx"), default, Photos(pool, manifest.size))
    paths = {one["precision"]: manifest.file(one["file"]) for one in manifest.models} | {"default": default}
    threads = {kind: threads_of(manifest, "int8" if kind == "default" else kind) for kind in paths}
    sessions = {kind: session(path, threads[kind]) for kind, path in paths.items()}
    images = np.load(manifest.file("check/images.npy"))
    timed = timed_in_turns(sessions, images, options.rounds)
    right = {kind: right_answers(one, manifest, images) for kind, one in sessions.items()}
    chosen, fp32 = timed[selected], timed["fp32"]
    vnni = "vnni" in Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else False
    bar = "<= 0.5" if name in HALVED and vnni else "<= 1.02"
    lost = points(right["fp32"], right[selected])
    over = points(right[selected], right["default"])
    bits = BITS[selected]
    accuracy = wilson(int(right["fp32"].sum()), len(right["fp32"]))
    share = rows.Row(
        figure=f"{name}/accuracy, fp32",
        value=float(right["fp32"].mean()),
        low=accuracy[0],
        high=accuracy[1],
        unit="share",
    )
    return [
        rows.Row(figure=f"{name}/bits", value=bits, low=bits, high=bits, unit="bits"),
        rows.row(f"{name}/fp32", 1e3 * fp32, "ms"),
        rows.row(f"{name}/chosen", 1e3 * chosen, "ms"),
        rows.row(f"{name}/chosen to fp32", chosen / fp32, "ratio", bar),
        rows.row(f"{name}/chosen to default", chosen / timed["default"], "ratio", "<= 1.02"),
        *([rows.row(f"{name}/int8 to fp32", timed["int8"] / fp32, "ratio")] if "int8" in timed else []),
        share,
        rows.Row(figure=f"{name}/accuracy lost", value=lost[0], low=lost[1], high=lost[2], unit="points", bar="<= 1"),
        rows.Row(
            figure=f"{name}/accuracy over default",
            value=over[2],
            low=over[1],
            high=over[2],
            unit="points",
            bar=">= 0",
        ),
    ]


def points(first: np.ndarray, second: np.ndarray) -> tuple[float, float, float]:
    """Points of accuracy that the first has more, and its interval."""
    better, worse = int((first & ~second).sum()), int((second & ~first).sum())
    value, low, high = paired_difference(better, worse, len(first))
    return 100 * value, 100 * low, 100 * high


class Photos(CalibrationDataReader):
    """Photo files as the graph's input, one after the other."""

    def __init__(self, paths: list[Path], size: int) -> None:
        self._feeds: Iterator[dict[str, np.ndarray]] = (
            {"image": to_pixels(decode(path.read_bytes()), size)[None]} for path in paths
        )

    def get_next(self) -> Any:
        return next(self._feeds, None)


def threads_of(manifest: Manifest, precision: str) -> int:
    """As many as this precision was measured with; all cores where it was not."""
    found = sorted(manifest.place("results").glob(f"{precision}-*.json"))
    threads = json.loads(found[0].read_text(encoding="utf-8")).get("runtime", {}).get("threads") if found else None
    return threads or cores.physical_cores()


def session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def timed_in_turns(
    sessions: dict[str, onnxruntime.InferenceSession], images: np.ndarray, rounds: int
) -> dict[str, np.ndarray]:
    """Seconds per image of every model in every round, float64 [rounds]."""

    def asking(one: onnxruntime.InferenceSession) -> Callable[[], object]:
        queries = itertools.cycle([images[row : row + 1] for row in range(min(64, len(images)))])
        return lambda: one.run(None, {"image": next(queries)})

    calls = {kind: asking(one) for kind, one in sessions.items()}
    return rows.interleave(calls, rounds=rounds, calls=20, warm_up=2, settle=3)


def right_answers(one: onnxruntime.InferenceSession, manifest: Manifest, images: np.ndarray) -> np.ndarray:
    """bool [M]: which check photos with a true class the model calls by it."""
    labels = np.load(manifest.file("check/labels.npy"))
    chosen = [int(one.run(["probabilities"], {"image": image[None]})[0].argmax()) for image in images[labels >= 0]]
    return np.array(chosen) == labels[labels >= 0]


if __name__ == "__main__":
    main()
