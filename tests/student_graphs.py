"""Graphs of a student of each family, as a build writes them: weights are random, classes three, photos noise.

FAMILIES          a student each, at the smallest size that has all its layers
graphs(...)       its graphs by precision, those that torch exports
int8(...)         one of them in int8, in the dialect of a kind of runtime
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgedistill.classes.class_vectors import ClassVectors
from edgedistill.classes.templates import Templates
from edgedistill.distil.student import Student
from edgedistill.distil.student_card import PROMPTED
from edgedistill.export.calibrate import ranges
from edgedistill.export.graph import GraphFacts, GraphSpec
from edgedistill.export.models import export_models
from edgedistill.export.quantise import Dialect, quantised, save

NAMES, DIM = ("bolt", "nut", "gear"), 64
TOWER = {"image_size": 32, "layers": 3, "width": 32, "patch_size": 8, "head_width": 8}
FAMILIES: dict[str, tuple[int, dict[str, Any]]] = {
    "resnet18": (64, {}),
    "resnet50": (64, {}),
    "mobilenetv2_100": (64, {}),
    "mobilenetv3_small_100": (64, {}),
    "mobilenetv3_large_100": (64, {}),
    "mobilenetv4_conv_small": (64, {}),
    "efficientnet_lite0": (64, {}),
    "convnext_atto": (64, {}),
    "vit_tiny_patch16_224": (224, {}),
    PROMPTED: (32, {"vision_cfg": TOWER, "embed_dim": 16, "quick_gelu": True, "tokens": 4, "depth": 2}),
}


def class_vectors() -> ClassVectors:
    drawn = np.random.default_rng(0).normal(size=(len(NAMES), DIM)).astype(np.float32)
    vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    templates = Templates("one", ("a photo of a {}.",))
    return ClassVectors(vectors, vectors, np.ones(1), "uniform", "none", 100.0, NAMES, templates)


def photos(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def student(name: str) -> Student:
    """The one of this family."""
    size, kwargs = FAMILIES[name]
    return Student(name, DIM, size=size, kwargs=kwargs)


def graphs(of: Student, folder: Path, *, size: int, dynamic_batch: bool = False, opset: int = 18) -> dict[str, Path]:
    """fp32 and fp16, by precision."""
    exports = export_models(
        of,
        class_vectors(),
        folder,
        facts=GraphFacts(labels=NAMES, teacher_id="teacher", build_id="build"),
        images=photos(2, size),
        spec=GraphSpec(size=size, dynamic_batch=dynamic_batch, opset=opset),
        precisions=["fp32", "fp16"],
    )
    return {model.precision: model.path for model in exports.models}


def int8(path: Path, dialect: Dialect) -> Path:
    """The fp32 graph at `path` in int8, its ranges found on noise."""
    size = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[1].dim_value
    found = ranges(path, photos(2, size), dialect.operators, "minmax", symmetric=dialect.symmetric)
    made = path.with_name(f"int8-{dialect.name}.onnx")
    save(quantised(onnx.load(path), found, dialect), made)
    return made
