"""What the light half adds: Classifier over a raw onnxruntime session, predict(file) over Pillow and that session,
the device's session over Classifier, and the start of the command line over the import of its library.

    python benchmarks/runtime_overhead.py [--bundle DIR] [--json rows.json]

Without --bundle it makes one with a small convolutional network of random weights at 160 px; speed does not depend on
the weights. Every comparison takes turns inside this run, on one thread unless --threads says more (with more, the
idle threads of one session spin while the other one works).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edgedistill.export  # noqa: F401  # first: it turns onnxruntime's telemetry off

# isort: split
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from rows import Row, interleave, report, row

from edgedistill import Classifier
from edgedistill.targets.manifest import read_manifest, selected_precision
from edgedistill.targets.preprocess import decode, read_file, to_pixels
from edgedistill.targets.runtimes import CPU, open_session

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from bundles import write_bundle  # the bundle of the tests, around a network of real size

SIZE = 160
SESSIONS = 12
HEAVY = ("torch", "onnxruntime", "numpy")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--bundle", type=Path, help="a bundle (default: a small one, made here)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--rounds", type=int, default=1500, help="of one call each: a pause then falls into few of them"
    )
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = options.bundle or write_bundle(Path(folder) / "bundle", models={"fp32": network(SIZE)})
        rows = [
            *serving(bundle, photo(Path(folder)), options.threads, options.rounds),
            *starting(max(5, options.rounds // 75)),
        ]
    report(rows, options.json)


def serving(bundle: Path, photo_path: Path, threads: int, rounds: int) -> list[Row]:
    """The three ratios of one image through each layer, and the raw time for scale.

    Two sessions of one model differ by some per cent for as long as they live, by where their memory lies: so the
    rounds are shared among `SESSIONS` sets of them, made in an order drawn anew.
    """
    order = np.random.default_rng(1)
    sets = [one_set(bundle, photo_path, threads, rounds // SESSIONS, order) for _ in range(SESSIONS)]
    times = {name: np.concatenate([found[name] for found in sets]) for name in sets[0]}
    return [
        row("raw session.run, one image", times["raw"] * 1e3, "ms"),
        row("Classifier.predict_array / raw session.run", times["array"] / times["raw"], "ratio", "<= 1.05"),
        row("predict(file) / Pillow and raw run", times["file"] / times["by hand"], "ratio", "<= 1.10"),
        row("run.py's session / Classifier", times["device"] / times["array"], "ratio", "0.95 .. 1.05"),
    ]


def one_set(
    bundle: Path, photo_path: Path, threads: int, rounds: int, order: np.random.Generator
) -> dict[str, np.ndarray]:
    """Seconds of every way to an answer, each with a session of its own."""
    manifest = read_manifest(bundle)
    precision, size = selected_precision(manifest), manifest.size

    def raw_session() -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        model = str(manifest.file(manifest.model(precision)["file"]))
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    makers: dict[str, Callable[[], Any]] = {
        "raw": raw_session,
        "classifier": lambda: Classifier(bundle, threads=threads),
        "device": lambda: open_session(manifest, precision, CPU, threads),
    }
    made = {name: makers[name]() for name in order.permutation(list(makers))}
    raw, classifier, device = made["raw"], made["classifier"], made["device"]
    pixels = np.random.default_rng(0).integers(0, 256, (1, size, size, 3), np.uint8)

    def by_hand() -> object:
        with Image.open(photo_path) as image:
            rgb = image.convert("RGB")
        side = min(rgb.size)
        left, top = (rgb.width - side) // 2, (rgb.height - side) // 2
        square = rgb.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))
        return raw.run(None, {"image": np.asarray(square)[None]})

    return interleave(
        {
            "raw": lambda: raw.run(None, {"image": pixels}),
            "array": lambda: classifier.predict_array(pixels),
            "device": lambda: device.run(pixels),
            "by hand": by_hand,
            "file": lambda: classifier.predict(photo_path),
            # Not reported: so that each of the three sessions runs twice a round, and none has a colder cache.
            "device, file": lambda: device.run(to_pixels(decode(read_file(photo_path)), size)[None]),
        },
        rounds=rounds,
        warm_up=50,
    )


def starting(rounds: int) -> list[Row]:
    """`edgedistill --help` against the import of typer, each in a fresh interpreter; and what it loads."""
    main_call = "import sys; sys.argv = ['edgedistill', '--help']; from edgedistill.cli import main; main()"
    count_loaded = f"sys.stderr.write(str(sum(name in sys.modules for name in {HEAVY})))"
    count_at_exit = f"import atexit, sys; atexit.register(lambda: {count_loaded})"

    def python(program: str) -> str:
        command = [sys.executable, "-c", program]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
        return done.stderr

    times = interleave(
        {"help": lambda: python(main_call), "typer": lambda: python("import typer")}, rounds=rounds, warm_up=2
    )
    count = int(python(f"{count_at_exit}; {main_call}"))
    return [
        row("edgedistill --help", times["help"] * 1e3, "ms"),
        row("edgedistill --help / import typer", times["help"] / times["typer"], "ratio", "<= 3"),
        row(f"of {', '.join(HEAVY)} loaded by --help", [count], "modules", "<= 0"),
    ]


def photo(folder: Path) -> Path:
    """A JPEG of 500 x 375 with the detail of a photograph: smooth shapes and fine grain."""
    rng = np.random.default_rng(1)
    shapes = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8)).resize((500, 375), Image.Resampling.BICUBIC)
    grain = rng.normal(0, 8, (375, 500, 1))
    path = folder / "photo.jpg"
    Image.fromarray((np.asarray(shapes) + grain).clip(0, 255).astype(np.uint8)).save(path, quality=85)
    return path


def network(size: int) -> onnx.ModelProto:
    """Ten depthwise-separable blocks of random weights behind the graph contract: uint8 in, three outputs out."""
    rng = np.random.default_rng(2)
    nodes = [
        helper.make_node("Cast", ["image"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale01"], ["x0"]),
    ]
    weights: dict[str, np.ndarray] = {
        "scale01": np.array(1 / 255, np.float32),
        "tiny": np.array(1e-6, np.float32),
        "last": np.array([1], np.int64),
        "scale": np.array(10, np.float32),
        "class_vectors": rng.normal(size=(256, 3)).astype(np.float32),
    }

    def convolve(source: str, target: str, shape: tuple[int, ...], groups: int, stride: int) -> None:
        name = f"weight_{target}"
        weights[name] = (rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)
        pad = shape[2] // 2
        geometry: dict[str, Any] = {"group": groups, "strides": [stride, stride], "pads": [pad] * 4}
        nodes.append(helper.make_node("Conv", [source, name], [f"{target}_linear"], **geometry))
        nodes.append(helper.make_node("Relu", [f"{target}_linear"], [target]))

    convolve("x0", "x1", (32, 3, 3, 3), 1, 2)
    channels, last = 32, "x1"
    for block, stride in enumerate([1, 2, 1, 2, 1, 1, 2, 1, 1, 1]):
        wider = min(256, channels * 2) if stride == 2 else channels
        convolve(last, f"d{block}", (channels, 1, 3, 3), channels, stride)
        convolve(f"d{block}", f"p{block}", (wider, channels, 1, 1), 1, 1)
        channels, last = wider, f"p{block}"
    nodes += [
        helper.make_node("GlobalAveragePool", [last], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["feature"]),
        helper.make_node("ReduceL2", ["feature", "last"], ["norm"], keepdims=1),
        helper.make_node("Add", ["norm", "tiny"], ["safe_norm"]),
        helper.make_node("Div", ["feature", "safe_norm"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "class_vectors"], ["cosines"]),
        helper.make_node("Mul", ["cosines", "scale"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ReduceMax", ["probabilities", "last"], ["known"], keepdims=0),
    ]
    outputs = {"probabilities": [1, 3], "embedding": [1, channels], "known": [1]}
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, size, size, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


if __name__ == "__main__":
    main()
