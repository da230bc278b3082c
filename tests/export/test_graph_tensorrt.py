"""Graphs as the export writes them, before a real TensorRT parser and builder (tensorrt-rtx, which needs no GPU)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch.nn.functional as F
from onnx import TensorProto, helper
from torch import Tensor

from edgedistill.classes.class_vectors import ClassVectors
from edgedistill.classes.templates import Templates
from edgedistill.distil.students import Student
from edgedistill.export.calibrate import ranges
from edgedistill.export.graph import BakedClassifier, GraphFacts, GraphSpec, to_onnx
from edgedistill.export.models import export_models
from edgedistill.export.quantise import ONNXRUNTIME, TENSORRT, Dialect, quantised, save
from edgedistill.profiles import load_profile
from edgedistill.targets.errors import TargetError
from edgedistill.targets.trt import build_plan

pytestmark = pytest.mark.slow

NAMES, DIM = ("bolt", "nut", "gear"), 64
PROFILE = load_profile("jetson-orin")


def class_vectors() -> ClassVectors:
    drawn = np.random.default_rng(0).normal(size=(len(NAMES), DIM)).astype(np.float32)
    vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    templates = Templates("one", ("a photo of a {}.",))
    return ClassVectors(vectors, vectors, np.ones(1), "uniform", "none", 100.0, NAMES, templates)


@pytest.fixture(scope="module")
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="the extra [trt-check] is not installed")


def graphs(name: str, folder: Path, *, dynamic_batch: bool = False, size: int = PROFILE.model.input_size) -> list[Path]:
    exports = export_models(
        Student(name, DIM, size=size),
        class_vectors(),
        folder,
        facts=GraphFacts(labels=NAMES, teacher_id="teacher", build_id="build"),
        images=np.random.default_rng(1).integers(0, 256, (2, size, size, 3), dtype=np.uint8),
        spec=GraphSpec(size=size, dynamic_batch=dynamic_batch, opset=PROFILE.model.opset),
        precisions=PROFILE.model.precisions,
    )
    return [model.path for model in exports.models]


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_large_100", "mobilenetv4_conv_small"])
def test_graphs_made_for_the_jetson_profile_are_parsed_and_built(rtx: Any, tmp_path: Path, name: str) -> None:
    paths = graphs(name, tmp_path)
    assert [path.name for path in paths] == ["fp32.onnx", "fp16.onnx"]
    sizes = [len(build_plan(path, rtx, workspace_mb=PROFILE.engine.workspace_mb)) for path in paths]
    assert sizes[1] < 0.7 * sizes[0]  # half really is half


def test_a_graph_with_a_free_batch_is_built(rtx: Any, tmp_path: Path) -> None:
    for path in graphs("resnet18", tmp_path, dynamic_batch=True, size=64):
        assert build_plan(path, rtx)


def int8(path: Path, dialect: Dialect) -> Path:
    """The fp32 graph at `path` in int8, its ranges found on noise."""
    size = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[1].dim_value
    noise = np.random.default_rng(2).integers(0, 256, (2, size, size, 3), dtype=np.uint8)
    found = ranges(path, noise, dialect.operators, "minmax", symmetric=dialect.symmetric)
    made = path.with_name(f"{dialect.name}.onnx")
    save(quantised(onnx.load(path), found, dialect), made)
    return made


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_large_100", "mobilenetv2_100"])
def test_int8_in_the_dialect_of_tensorrt_is_built_and_in_that_of_onnxruntime_refused(
    rtx: Any, tmp_path: Path, name: str
) -> None:
    fp32, *_ = graphs(name, tmp_path, size=64)
    plan = build_plan(int8(fp32, TENSORRT), rtx)
    if name == "resnet18":  # its weights are nearly all of the engine
        assert len(plan) < 0.5 * len(build_plan(fp32, rtx))
    with pytest.raises(TargetError, match="zero point"):
        build_plan(int8(fp32, ONNXRUNTIME), rtx)


def test_the_same_network_with_the_image_transposed_before_the_cast_is_refused(rtx: Any, tmp_path: Path) -> None:
    """What the order Cast, Transpose in the export is for; if this starts to pass, the rule may go."""
    nodes = [
        helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Cast", ["planes"], ["pixels"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "transposed",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 8, 8, 3])],
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, 3, 8, 8])],
    )
    path = tmp_path / "transposed.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    with pytest.raises(TargetError):
        build_plan(path, rtx)


class HalfNormalisation(BakedClassifier):
    """What the float32 island avoids: the embedding normalised in half."""

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pixels = self.student.normalise(image).to(self.dtype)
        embedding = F.normalize(self.student.projector(self.student.backbone(pixels)), dim=-1).float()
        probabilities = (self.scale * (embedding @ self.class_vectors) + self.class_bias).softmax(-1)
        return probabilities, embedding, probabilities.amax(-1)


@pytest.mark.parametrize(("kind", "loses"), [(BakedClassifier, False), (HalfNormalisation, True)])
def test_only_a_normalisation_in_half_loses_its_epsilon(
    rtx: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: type[BakedClassifier], loses: bool
) -> None:
    student, vectors = Student("resnet18", DIM, size=64), class_vectors()
    baked = kind(student, vectors.baked, vectors.scale, size=64, half=True)
    path = tmp_path / "half.onnx"
    onnx.save(to_onnx(baked, GraphSpec(size=64)), path)
    capfd.readouterr()
    build_plan(path, rtx)
    assert ("precision-lose" in "".join(capfd.readouterr())) == loses  # TensorRT prints this one past its logger
