"""Graphs as the export writes them, before a real TensorRT parser and builder (tensorrt-rtx, which needs no GPU)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from edgedistill.profiles import load_profile
from edgedistill.targets.errors import TargetError
from edgedistill.targets.trt import build_plan
from onnx import TensorProto, helper

from edgedistill.export import GraphFacts, export_models
from edgedistill.students import Student

pytestmark = pytest.mark.slow

NAMES, DIM = ("bolt", "nut", "gear"), 64
PROFILE = load_profile("jetson-orin")


@dataclass(frozen=True)
class Classes:
    """The three fields of ClassVectors that the export reads."""

    baked: np.ndarray
    scale: float = 100.0
    names: tuple[str, ...] = NAMES


@pytest.fixture(scope="module")
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="the extra [trt-check] is not installed")


def graphs(name: str, folder: Path, *, dynamic_batch: bool = False, size: int = PROFILE.model.input_size) -> list[Path]:
    vectors = np.random.default_rng(0).normal(size=(len(NAMES), DIM)).astype(np.float32)
    exports = export_models(
        Student(name, DIM, size=size),
        Classes(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)),  # type: ignore[arg-type]
        folder,
        facts=GraphFacts(labels=NAMES, teacher_id="teacher", build_id="build"),
        images=np.random.default_rng(1).integers(0, 256, (2, size, size, 3), dtype=np.uint8),
        size=size,
        precisions=PROFILE.model.precisions,
        dynamic_batch=dynamic_batch,
        opset=PROFILE.model.opset,
    )
    return [model.path for model in exports.models]


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_large_100", "mobilenetv4_conv_small"])
def test_graphs_made_for_the_jetson_profile_are_parsed_and_built(rtx: Any, tmp_path: Path, name: str) -> None:
    paths = graphs(name, tmp_path)
    assert [path.name for path in paths] == ["fp32.onnx", "fp16.onnx"]
    sizes = [len(build_plan(path, rtx, workspace_mb=PROFILE.budget.build_workspace_mb)) for path in paths]
    assert sizes[1] < 0.7 * sizes[0]  # half really is half


def test_a_graph_with_a_free_batch_is_built(rtx: Any, tmp_path: Path) -> None:
    for path in graphs("resnet18", tmp_path, dynamic_batch=True, size=64):
        assert build_plan(path, rtx)


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


def test_no_constant_of_the_half_graph_loses_its_value(rtx: Any, tmp_path: Path) -> None:
    """TensorRT warns of a "precision-lose casting" where the epsilon of a half normalisation becomes zero."""
    said: list[str] = []

    class Listener(rtx.ILogger):
        def __init__(self) -> None:
            rtx.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            if severity <= rtx.ILogger.Severity.WARNING:
                said.append(message)

    listener = Listener()
    (_, half) = graphs("resnet18", tmp_path, size=64)
    network = rtx.Builder(listener).create_network(0)
    assert rtx.OnnxParser(network, listener).parse(half.read_bytes())
    assert not [message for message in said if "lose" in message], said
