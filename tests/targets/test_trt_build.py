"""Engines are built: by stand-ins with the names of three versions of TensorRT, and by a real parser and builder
(tensorrt-rtx), which needs no GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import fake_tensorrt
import numpy as np
import onnx
import pytest
from bundles import colour_model
from fake_tensorrt import NAMES, VERSIONS, Board
from onnx import TensorProto, helper

from edgedistill.targets import trt_build, trt_sidecar
from edgedistill.targets.errors import TargetError
from edgedistill.targets.trt_build import build_plan
from edgedistill.targets.trt_sidecar import Options


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(colour_model(), path)
    return path


@pytest.fixture
def free_batch(tmp_path: Path) -> Path:
    path = tmp_path / "free.onnx"
    onnx.save(colour_model("batch"), path)
    return path


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture(params=VERSIONS)
def tensorrt(request: pytest.FixtureRequest, board: Board) -> Any:
    return fake_tensorrt.module(request.param, board=board)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_stand_ins_have_exactly_the_names_of_their_version(version: str) -> None:
    trt = fake_tensorrt.module(version)
    for kind, names in NAMES[version].items():
        own = trt.ILogger.Severity if kind == "ILogger.Severity" else getattr(trt, kind)
        if isinstance(names, dict):
            assert {name: int(member) for name, member in own.__members__.items()} == names
        else:
            assert {name for name in vars(own) if not name.startswith("_")} == set(names)
    config = trt.Builder(trt.ILogger()).create_builder_config()
    with pytest.raises(AttributeError):
        config.max_workspace_size = 1  # as in TensorRT 8
    with pytest.raises(NotImplementedError):
        config.plugins_to_serialize = []


@pytest.mark.parametrize("name", ["FP16", "INT8"])
def test_what_11_has_removed_is_not_there(name: str) -> None:
    assert hasattr(fake_tensorrt.module("10.13.3.9").BuilderFlag, name)
    assert not hasattr(fake_tensorrt.module("11.4.0.106").BuilderFlag, name)


def test_where_cuda_does_not_start_it_is_said(tensorrt: Any, board: Board, model: Path) -> None:
    board.starts = False
    with pytest.raises(TargetError, match=r"cannot start CUDA: CUDA initialization failure with error: 35") as caught:
        build_plan(model, tensorrt)
    assert "driver may be older" in caught.value.todo
    assert "\n" not in caught.value.wrong


def test_a_network_is_strongly_typed_and_without_tf32(tensorrt: Any, model: Path) -> None:
    plan = json.loads(build_plan(model, tensorrt, Options(workspace_mb=64)).engine)
    assert (plan["strongly_typed"], plan["flags"], plan["workspace_mb"]) == (True, [], 64)
    assert (plan["profiles"], plan["dla_core"], plan["device"]) == ([], -1, None)


def test_a_free_batch_gets_its_optimisation_profile(tensorrt: Any, free_batch: Path) -> None:
    plan = json.loads(build_plan(free_batch, tensorrt).engine)
    assert plan["profiles"] == [{"image": [[1, 16, 16, 3], [1, 16, 16, 3], [64, 16, 16, 3]]}]


def test_where_memory_runs_out_less_is_tried(
    tensorrt: Any, board: Board, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    board.memory_mb = 200
    engine = tmp_path / "fp16.engine"
    sidecar = trt_build.compile(model, engine, tensorrt, Options(workspace_mb=1024))
    assert [plan["workspace_mb"] for plan in board.builds] == [1024, 512, 256, 128]
    assert (sidecar["workspace_mb"], sidecar["built_with_workspace_mb"]) == (1024, 128)
    assert "OutOfMemory" in caplog.text
    assert trt_sidecar.why_stale(model, engine, trt_sidecar.place_of(tensorrt), Options(workspace_mb=1024)) is None


def test_an_end_to_the_memory_is_an_error_with_tensorrts_words(tensorrt: Any, board: Board, model: Path) -> None:
    board.memory_mb = 8
    with pytest.raises(TargetError, match=r"cannot build .*OutOfMemory") as caught:
        build_plan(model, tensorrt, Options(workspace_mb=64))
    assert "Free some memory" in caught.value.todo
    assert [plan["workspace_mb"] for plan in board.builds] == [64, 32, 16]


def test_timings_are_kept_for_the_next_build_on_this_machine(
    tensorrt: Any, board: Board, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = trt_build.compile(model, tmp_path / "fp16.engine", tensorrt)
    trt_build.compile(model, tmp_path / "fp32.engine", tensorrt)
    known = f"timings of {tensorrt.__version__}, all"
    assert [plan["timings"] for plan in board.builds] == ["", known]
    assert (tmp_path / first["timing_cache"]).read_text() == known
    monkeypatch.setattr(trt_build, "power_mode", lambda: "15W")
    trt_build.compile(model, tmp_path / "fp32.engine", tensorrt)
    assert board.builds[-1]["timings"] == ""


def test_timings_of_another_version_are_not_used(
    tensorrt: Any, board: Board, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    plan = build_plan(model, tensorrt, timings=b"timings of 8.6.1, all")
    assert board.builds[-1]["timings"] == ""
    assert plan.cache == f"timings of {tensorrt.__version__}, all".encode()
    assert "a new one is begun" in caplog.text


def test_a_dla_gets_what_it_takes_and_the_gpu_the_rest(
    tensorrt: Any, board: Board, model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    board.dla_cores, board.dla = 2, ("Mul", "Add")
    sidecar = trt_build.compile(model, tmp_path / "fp16.engine", tensorrt, Options(dla_core=1))
    (plan,) = board.builds
    assert (plan["device"], plan["dla_core"], plan["flags"]) == ("DLA", 1, ["GPU_FALLBACK"])
    assert (sidecar["dla_core"], sidecar["layers_on_dla"]) == (1, [3, 12])
    assert "3 of 12 layers run on DLA core 1, the others on the GPU" in caplog.text


def test_a_dla_that_cannot_take_it_is_refused_by_name(
    tensorrt: Any, board: Board, model: Path, free_batch: Path
) -> None:
    with pytest.raises(TargetError, match="asks for DLA core 0, this board has 0 DLA cores"):
        build_plan(model, tensorrt, Options(dla_core=0))
    board.dla_cores = 1
    with pytest.raises(TargetError, match=r"no layer of .* can run on a DLA"):
        build_plan(model, tensorrt, Options(dla_core=0))
    with pytest.raises(TargetError, match="takes any batch, a DLA one alone"):
        build_plan(free_batch, tensorrt, Options(dla_core=0))


def test_the_parsers_errors_are_one_line(tensorrt: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\x3a\x03\x5a\x01\xff")  # an input that is cut, inside a whole graph
    with pytest.raises(TargetError, match=r"does not accept .*: cannot read the model: ") as caught:
        build_plan(tmp_path / "bad.onnx", tensorrt)
    assert "\n" not in caught.value.wrong


def test_too_little_memory_stops_before_the_build(tensorrt: Any, board: Board, model: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"MB of memory are free, a build here needs"):
        trt_build.compile(model, tmp_path / "x.engine", tensorrt, free_mb=1 << 40)
    assert board.builds == []
    assert not (tmp_path / "x.engine").exists()


# ------------------------------------------------------------------ a real parser and builder, which needs no GPU


@pytest.fixture(scope="module")
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="the extra [trt-check] is not installed")


def test_a_graph_of_our_contract_is_built_for_real(rtx: Any, model: Path, tmp_path: Path) -> None:
    engine = tmp_path / "engines" / "fp32.engine"
    sidecar = trt_build.compile(model, engine, rtx, Options(workspace_mb=64))
    assert engine.stat().st_size > 1000
    assert json.loads(trt_sidecar.sidecar_of(engine).read_text()) == sidecar
    assert (sidecar["library"], sidecar["version"]) == ("tensorrt_rtx", rtx.__version__)
    place = trt_sidecar.place_of(rtx)
    assert trt_sidecar.why_stale(model, engine, place, Options(workspace_mb=64)) is None
    assert sidecar["timing_cache"] is None  # RTX chooses its kernels where the engine runs


def test_a_dynamic_batch_is_built_for_real(rtx: Any, free_batch: Path) -> None:
    assert len(build_plan(free_batch, rtx).engine) > 1000


def test_a_dla_core_that_is_not_there_is_refused_for_real(rtx: Any, model: Path) -> None:
    with pytest.raises(TargetError, match="this board has 0 DLA cores"):
        build_plan(model, rtx, Options(dla_core=0))


def test_what_the_real_parser_refuses_is_repeated(rtx: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\x3a\x03\x5a\x01\xff")
    with pytest.raises(TargetError, match="does not accept"):
        build_plan(tmp_path / "bad.onnx", rtx)
    transposed_first = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
                helper.make_node("Cast", ["planes"], ["y"], to=TensorProto.FLOAT),
            ],
            "wrong order",
            [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 16, 16, 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 16, 16])],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=10,
    )
    onnx.save(transposed_first, tmp_path / "order.onnx")
    with pytest.raises(TargetError) as caught:
        build_plan(tmp_path / "order.onnx", rtx)
    assert "\n" not in caught.value.wrong


def quantised(zero_point: np.ndarray) -> onnx.ModelProto:
    """The colour model with its pixels quantised and back, around this zero point."""
    model = colour_model()
    scale = onnx.numpy_helper.from_array(np.array(1 / 127, np.float32), "step")
    model.graph.initializer.extend([scale, onnx.numpy_helper.from_array(zero_point, "zero")])
    for node in model.graph.node:
        if node.op_type == "ReduceMean":
            node.input[0] = "back"
    there = [
        helper.make_node("QuantizeLinear", ["unit", "step", "zero"], ["small"]),
        helper.make_node("DequantizeLinear", ["small", "step", "zero"], ["back"]),
    ]
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:3], *there, *nodes[3:]])
    onnx.checker.check_model(model)
    return model


def test_symmetric_int8_is_built_and_that_of_x86_is_refused_with_its_reason(rtx: Any, tmp_path: Path) -> None:
    path = tmp_path / "int8.onnx"
    onnx.save(quantised(np.array(0, np.int8)), path)
    assert build_plan(path, rtx).engine
    onnx.save(quantised(np.array(12, np.uint8)), path)
    with pytest.raises(TargetError, match="does not accept") as caught:
        build_plan(path, rtx)
    assert "quantised for onnxruntime on a CPU" in caught.value.todo
