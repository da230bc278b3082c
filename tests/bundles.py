"""A bundle in miniature, made with onnx alone: it tells red, green and blue images apart.

The graph keeps the contract of the real one (uint8 image in; probabilities, embedding and known out) in ten nodes, so
the device side can be tested without training anything.
"""

from __future__ import annotations

import json
import shutil
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from edgedistill import targets
from edgedistill.profiles import load_profile
from edgedistill.targets import machine
from edgedistill.targets.preprocess import RESIZE_RULE, to_pixels
from edgedistill.targets.printable import line

NAMES = ("red", "green", "blue")
SIZE = 16
SCALE = 20.0


def colour_model(batch: int | str = 1, *, size: int = SIZE, extra: np.ndarray | None = None) -> onnx.ModelProto:
    """uint8 [batch,size,size,3] -> mean colour, unit norm, softmax over three classes. `batch` "batch" is dynamic.

    `extra`: a weight [3,3] put before the norm; NaN in it makes every output NaN.
    """
    constants = {
        "axes": np.array([2, 3], np.int64),
        "scale01": np.array(1 / 255, np.float32),
        "mixing": (np.eye(3) if extra is None else extra).astype(np.float32),
        "tiny": np.array(1e-6, np.float32),
        "class_vectors": np.eye(3, dtype=np.float32),
        "scale": np.array(SCALE, np.float32),
        "last": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["cast"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["cast"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["planes", "scale01"], ["unit"]),
        helper.make_node("ReduceMean", ["unit", "axes"], ["mean"], keepdims=0),
        helper.make_node("MatMul", ["mean", "mixing"], ["mixed"]),
        helper.make_node("ReduceL2", ["mixed", "last"], ["norm"], keepdims=1),
        helper.make_node("Add", ["norm", "tiny"], ["safe_norm"]),
        helper.make_node("Div", ["mixed", "safe_norm"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "class_vectors"], ["cosines"]),
        helper.make_node("Mul", ["cosines", "scale"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ReduceMax", ["probabilities", "last"], ["known"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, size, size, 3])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, 3]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, 3]),
            helper.make_tensor_value_info("known", TensorProto.FLOAT, [batch]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    # 9 is the newest format that onnxruntime 1.17 reads.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def expected_embedding(pixels: np.ndarray) -> np.ndarray:
    """The embedding that the graph computes, in numpy: uint8 [N,S,S,3] -> float64 [N,3]."""
    mean = pixels.astype(np.float64).mean(axis=(1, 2)) / 255
    return mean / (np.linalg.norm(mean, axis=1, keepdims=True) + 1e-6)


def expected_probabilities(pixels: np.ndarray) -> np.ndarray:
    """What the graph computes, in numpy: uint8 [N,S,S,3] -> float64 [N,3]."""
    unit = expected_embedding(pixels)
    raised = np.exp(SCALE * (unit - unit.max(axis=1, keepdims=True)))
    return raised / raised.sum(axis=1, keepdims=True)


def colour_pixels(count: int, *, size: int = SIZE, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """uint8 [count,size,size,3] of noise with one channel brighter, and that channel, int64 [count]."""
    rng = np.random.default_rng(seed)
    classes = np.arange(count) % 3
    pixels = rng.integers(0, 120, (count, size, size, 3), np.uint8)
    pixels[np.arange(count), :, :, classes] += 120
    return pixels, classes


def png(pixels: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def golden_answers(models: dict[str, onnx.ModelProto], pixels: np.ndarray) -> dict[str, np.ndarray]:
    """The arrays of golden.npz that hold answers; int8 is held to its own graph's."""
    answers = {"probabilities": expected_probabilities(pixels), "embedding": expected_embedding(pixels)}
    if "int8" in models:
        session = onnxruntime.InferenceSession(models["int8"].SerializeToString(), providers=["CPUExecutionProvider"])
        own = [session.run(list(answers), {"image": image[None]}) for image in pixels]
        answers |= {f"int8_{name}": np.concatenate(parts) for name, parts in zip(answers, zip(*own))}
    return {name: values.astype(np.float32) for name, values in answers.items()}


def class_vectors_file() -> bytes:
    """class_vectors.safetensors of the colour models; by hand, since the device side has no safetensors."""
    vectors = np.eye(3, dtype=np.float32)
    entry = {"dtype": "F32", "shape": [3, 3], "data_offsets": [0, vectors.nbytes]}
    header = json.dumps({"__metadata__": {"json": json.dumps({"scale": SCALE})}, "baked": entry}).encode()
    return len(header).to_bytes(8, "little") + header + vectors.tobytes()


def write_bundle(
    folder: Path,
    *,
    profile: str | dict[str, Any] = "cpu",
    models: dict[str, onnx.ModelProto] | None = None,
    images: int = 60,
    dynamic: bool = False,
) -> Path:
    """A whole bundle at `folder`: models, golden set, check set, run.py, targets/ and a manifest with every hash."""
    models = models or {"fp32": colour_model("batch" if dynamic else 1)}
    size = next(iter(models.values())).graph.input[0].type.tensor_type.shape.dim[1].dim_value
    (folder / "models").mkdir(parents=True)
    for precision, model in models.items():
        onnx.save(model, folder / "models" / f"{precision}.onnx")
    pixels, classes = colour_pixels(images, size=size)
    (folder / "check").mkdir()
    np.save(folder / "check" / "images.npy", pixels)
    np.save(folder / "check" / "teacher_class.npy", classes)
    files = [png(image) for image in pixels[:4]]
    np.savez(
        folder / "golden.npz",
        bytes=np.frombuffer(b"".join(files), np.uint8),
        offsets=np.cumsum([0, *map(len, files)], dtype=np.int64),
        pixels=np.stack([to_pixels(Image.open(BytesIO(data)), size) for data in files]),
        **golden_answers(models, pixels[:4]),
    )
    (folder / "class_vectors.safetensors").write_bytes(class_vectors_file())
    device_side = Path(targets.__file__).parent
    shutil.copytree(device_side, folder / "targets", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copyfile(device_side / "run.py", folder / "run.py")
    resolved = load_profile(profile).to_json() if isinstance(profile, str) else profile
    manifest = {
        "format": 1,
        "build_id": "0" * 64,
        "labels": [{"name": name, "synonyms": []} for name in NAMES],
        "preprocessing": {
            "layout": "NHWC",
            "dtype": "uint8",
            "channels": "RGB",
            "size": size,
            "resize": RESIZE_RULE,
        },
        "batch": {"min": 1, "max": 64 if dynamic else 1},
        "profile": resolved,
        "golden": {"images": 4, "pixel_tolerance": 2},
        "models": [
            {
                "file": f"models/{precision}.onnx",
                "precision": precision,
                "bytes": (folder / "models" / f"{precision}.onnx").stat().st_size,
                "golden_tolerance": {"fp32": 1e-3, "fp16": 2e-2, "int8": 0.25}[precision],
            }
            for precision in models
        ],
        "files": {
            path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        },
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def change_manifest(bundle: Path, **changes: Any) -> None:
    """Replace top-level keys of a bundle's manifest."""
    path = bundle / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def write_verdict(bundle: Path, build_id: str, precision: str, runtime: str, threads: int = 1) -> None:
    """A verdict.json as of this machine with 2 cores: this candidate was selected, measured with so many threads."""
    verdict = {
        "build_id": build_id,
        "verdict": "pass",
        "selected": precision,
        "device": {"name": line(machine.device_name())},
        "runtime": {"name": runtime, "version": "1", "threads": threads, "threads_tried": {"1": 6.7, "2": 8.8}},
    }
    (bundle / "verdict.json").write_text(json.dumps(verdict))
