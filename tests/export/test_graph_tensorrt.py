"""Graphs as the export writes them, before a real TensorRT parser and builder (tensorrt-rtx, which needs no GPU)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch.nn.functional as F
from onnx import TensorProto, helper
from student_graphs import DIM, FAMILIES, NAMES, PROMPTED, class_vectors, int8
from student_graphs import graphs as exported
from torch import Tensor

from edgedistill.distil.student import Student
from edgedistill.export.graph import BakedClassifier, GraphSpec, to_onnx
from edgedistill.export.quantise import ONNXRUNTIME, TENSORRT
from edgedistill.profiles import load_profile
from edgedistill.targets.errors import TargetError
from edgedistill.targets.trt_build import build_plan
from edgedistill.targets.trt_sidecar import Options

pytestmark = pytest.mark.slow

PROFILE = load_profile("jetson-orin")


@pytest.fixture(scope="module")
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="the extra [trt-check] is not installed")


Graphs = Callable[..., dict[str, Path]]


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> Graphs:
    """(student[, size], dynamic_batch=) -> its graph in each precision that TensorRT reads, made once for all tests."""

    @cache
    def made(name: str, size: int | None = None, *, dynamic_batch: bool = False) -> dict[str, Path]:
        usual, kwargs = FAMILIES[name]
        return write_graphs(name, tmp_path_factory.mktemp("graphs"), size or usual, kwargs, dynamic_batch)

    return made


def write_graphs(name: str, folder: Path, size: int, kwargs: dict[str, Any], dynamic_batch: bool) -> dict[str, Path]:
    """fp32 and fp16 as a build writes them, int8 in TensorRT's dialect, by precision."""
    made = Student(name, DIM, size=size, kwargs=kwargs)
    found = exported(made, folder, size=size, dynamic_batch=dynamic_batch, opset=PROFILE.model.opset)
    return found | {"int8": int8(found["fp32"], TENSORRT)}


@cache
def engine_bytes(path: Path, rtx: Any) -> int:
    """How large the engine of this file is, built as the profile wants it."""
    return len(build_plan(path, rtx, Options(workspace_mb=PROFILE.engine.workspace_mb)).engine)


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


def together(*names: str) -> list[Any]:
    """Parameters, each of a group of its own, so that workers share no family."""
    return [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in names]


def every_family() -> Iterator[Any]:
    """With a fixed batch and with a free one, which most families leave to `pytest -m slow`: it takes minutes of CI."""
    for name in FAMILIES:
        for free in (False, True):
            marks = [pytest.mark.xdist_group(name)]
            if free and name not in ("resnet18", "mobilenetv3_small_100", PROMPTED):
                marks.append(pytest.mark.matrix)
            yield pytest.param(name, free, marks=marks, id=f"{name}-{'free' if free else 'fixed'}")


@pytest.mark.parametrize(("name", "dynamic_batch"), [*every_family()])
def test_every_family_is_parsed_and_built_in_every_precision(
    rtx: Any, graphs: Graphs, name: str, dynamic_batch: bool
) -> None:
    size, _ = FAMILIES[name]
    found = graphs(name, dynamic_batch=dynamic_batch)
    assert set(found) == {"fp32", "fp16", "int8"}
    for path in found.values():
        assert signature(path, rtx) == contract(-1 if dynamic_batch else 1, size)
        assert engine_bytes(path, rtx) > 1000


@pytest.mark.xdist_group(PROFILE.model.student)
def test_half_is_half_at_the_size_of_the_profile(rtx: Any, graphs: Graphs) -> None:
    found = graphs(PROFILE.model.student, PROFILE.model.input_size)
    assert engine_bytes(found["fp16"], rtx) < 0.7 * engine_bytes(found["fp32"], rtx)


@pytest.mark.xdist_group("resnet18")
def test_int8_keeps_the_weights_small(rtx: Any, graphs: Graphs) -> None:
    found = graphs("resnet18")  # its weights are nearly all of the engine
    assert engine_bytes(found["int8"], rtx) < 0.5 * engine_bytes(found["fp32"], rtx)


@pytest.mark.parametrize("name", together("resnet18", "mobilenetv3_large_100"))
def test_int8_in_the_dialect_of_onnxruntime_is_refused_with_its_reason(rtx: Any, graphs: Graphs, name: str) -> None:
    path = int8(graphs(name)["fp32"], ONNXRUNTIME)
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
