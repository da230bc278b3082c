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
from edgedistill.distil.prompted_tower import PROMPTED
from edgedistill.distil.students import Student
from edgedistill.export.calibrate import ranges
from edgedistill.export.graph import BakedClassifier, GraphFacts, GraphSpec, to_onnx
from edgedistill.export.models import export_models
from edgedistill.export.quantise import ONNXRUNTIME, TENSORRT, Dialect, quantised, save
from edgedistill.profiles import load_profile
from edgedistill.targets.errors import TargetError
from edgedistill.targets.trt_build import build_plan
from edgedistill.targets.trt_sidecar import Options

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


def graphs(name: str, folder: Path, *, size: int, dynamic_batch: bool = False, **kwargs: Any) -> dict[str, Path]:
    """The graphs that the profile asks for, as a build writes them, by precision."""
    exports = export_models(
        Student(name, DIM, size=size, kwargs=kwargs),
        class_vectors(),
        folder,
        facts=GraphFacts(labels=NAMES, teacher_id="teacher", build_id="build"),
        images=photos(2, size),
        spec=GraphSpec(size=size, dynamic_batch=dynamic_batch, opset=PROFILE.model.opset),
        precisions=["fp32", "fp16"],
    )
    return {model.precision: model.path for model in exports.models}


def photos(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def int8(path: Path, dialect: Dialect) -> Path:
    """The fp32 graph at `path` in int8, its ranges found on noise."""
    size = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[1].dim_value
    found = ranges(path, photos(2, size), dialect.operators, "minmax", symmetric=dialect.symmetric)
    made = path.with_name(f"int8-{dialect.name}.onnx")
    save(quantised(onnx.load(path), found, dialect), made)
    return made


def signature(path: Path, rtx: Any) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Names, dtypes and shapes of what goes in and comes out, as TensorRT's parser understands the file."""
    logger = rtx.Logger(rtx.Logger.ERROR)
    network = rtx.Builder(logger).create_network(0)
    parser = rtx.OnnxParser(network, logger)
    assert parser.parse_from_file(str(path))
    tensors = [network.get_input(index) for index in range(network.num_inputs)]
    tensors += [network.get_output(index) for index in range(network.num_outputs)]
    return {tensor.name: (tensor.dtype.name, tuple(tensor.shape)) for tensor in tensors}


def contract(batch: int, size: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {
        "image": ("UINT8", (batch, size, size, 3)),
        "probabilities": ("FLOAT", (batch, len(NAMES))),
        "embedding": ("FLOAT", (batch, DIM)),
        "known": ("FLOAT", (batch,)),
    }


TOWER = {"image_size": 32, "layers": 3, "width": 32, "patch_size": 8, "head_width": 8}
# A student of each family, at the smallest size that has all its layers.
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


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_parsed_and_built_in_every_precision(rtx: Any, tmp_path: Path, name: str) -> None:
    size, kwargs = FAMILIES[name]
    found = graphs(name, tmp_path, size=size, **kwargs)
    found["int8"] = int8(found["fp32"], TENSORRT)
    assert set(found) == {"fp32", "fp16", "int8"}
    options = Options(workspace_mb=PROFILE.engine.workspace_mb)
    engines = {precision: build_plan(path, rtx, options).engine for precision, path in found.items()}
    for path in found.values():
        assert signature(path, rtx) == contract(1, size)
    assert min(map(len, engines.values())) > 1000


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_100", PROMPTED])
def test_a_free_batch_is_built_in_every_precision(rtx: Any, tmp_path: Path, name: str) -> None:
    size, kwargs = FAMILIES[name]
    found = graphs(name, tmp_path, size=size, dynamic_batch=True, **kwargs)
    found["int8"] = int8(found["fp32"], TENSORRT)
    for path in found.values():
        assert build_plan(path, rtx).engine
        assert signature(path, rtx) == contract(-1, size)


def test_half_is_half_at_the_size_of_the_profile(rtx: Any, tmp_path: Path) -> None:
    found = graphs(PROFILE.model.student, tmp_path, size=PROFILE.model.input_size)
    sizes = {precision: len(build_plan(path, rtx).engine) for precision, path in found.items()}
    assert sizes["fp16"] < 0.7 * sizes["fp32"]


def test_int8_keeps_the_weights_small(rtx: Any, tmp_path: Path) -> None:
    fp32 = graphs("resnet18", tmp_path, size=64)["fp32"]  # its weights are nearly all of the engine
    sizes = [len(build_plan(path, rtx).engine) for path in (int8(fp32, TENSORRT), fp32)]
    assert sizes[0] < 0.5 * sizes[1]


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_large_100"])
def test_int8_in_the_dialect_of_onnxruntime_is_refused_with_its_reason(rtx: Any, tmp_path: Path, name: str) -> None:
    path = int8(graphs(name, tmp_path, size=64)["fp32"], ONNXRUNTIME)
    with pytest.raises(TargetError, match="does not accept") as caught:
        build_plan(path, rtx)
    assert "quantised for onnxruntime on a CPU" in caught.value.todo


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
