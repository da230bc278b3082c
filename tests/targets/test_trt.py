"""TensorRT without a GPU: the builder is real (tensorrt-rtx), the CUDA runtime is host memory behind the same symbols,
and the engine is a stand-in that reads the addresses it is given.

What only a GPU can show (that a real engine deserialises and is fast) is not claimed here.
"""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from bundles import SIZE, colour_model, colour_pixels
from onnx import TensorProto, helper

from edgedistill.targets import trt
from edgedistill.targets.cudart import Cudart, gpus
from edgedistill.targets.errors import TargetError

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler for the stand-in CUDA runtime")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The stand-in libcudart, compiled."""
    path = tmp_path_factory.mktemp("cudart") / "libfake_cudart.so"
    source = Path(__file__).with_name("fake_cudart.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", str(source), "-o", str(path)], check=True)
    return str(path)


@pytest.fixture
def fake(library: str) -> Any:
    """Its own switches; every test has to free what it took."""
    handle = ctypes.CDLL(library)
    handle.fake_refuse_capture(0)
    before = handle.fake_live()
    yield handle
    assert handle.fake_live() == before


class Severity:
    INTERNAL_ERROR, ERROR, WARNING, INFO = range(4)


class ILogger:
    Severity = Severity

    def __init__(self) -> None: ...


class FakeContext:
    """Runs the stand-in kernel on whatever addresses it was given, as an engine does."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._addresses: dict[str, int] = {}
        self._count = max(engine.batch, 1)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self._addresses[name] = address
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._count = shape[0]
        return name == "image" and 1 <= shape[0] <= 64

    def execute_async_v3(self, stream: int) -> bool:
        assert stream
        if self._engine.fails:
            self._engine.logger.log(Severity.ERROR, "kernel failed")
            return False
        names = ("image", "probabilities", "embedding", "known")
        addresses = [ctypes.c_void_p(self._addresses[name]) for name in names]
        self._engine.kernel(*addresses, self._count, SIZE * SIZE)
        return True


class FakeEngine:
    def __init__(self, plan: dict[str, Any], logger: Any, kernel: Any) -> None:
        self.batch, self.fails = plan["batch"], plan.get("fails", False)
        self._dtypes = plan.get("dtypes", {})
        self.logger, self.kernel = logger, kernel
        self._shapes = {
            "probabilities": (self.batch, 3),
            "image": (self.batch, SIZE, SIZE, 3),
            "known": (self.batch,),
            "embedding": (self.batch, 3),
        }
        self.num_io_tensors = len(self._shapes)

    def get_tensor_name(self, index: int) -> str:
        return list(self._shapes)[index]

    def get_tensor_dtype(self, name: str) -> str:
        return self._dtypes.get(name, "UINT8" if name == "image" else "FLOAT")

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name == "image" else "OUTPUT"

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return self._shapes[name]

    def create_execution_context(self) -> FakeContext:
        return FakeContext(self)


@pytest.fixture
def tensorrt(library: str) -> Any:
    """A module with the names of TensorRT that a Session uses; a plan is JSON."""
    kernel = ctypes.CDLL(library).fake_kernel

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, data: bytes) -> FakeEngine | None:
            try:
                return FakeEngine(json.loads(data), self._logger, kernel)
            except ValueError:
                self._logger.log(Severity.ERROR, "the plan was built by another version")
                return None

    return SimpleNamespace(
        __version__="10.3.0",
        ILogger=ILogger,
        Runtime=Runtime,
        DataType=SimpleNamespace(UINT8="UINT8", FLOAT="FLOAT"),
        TensorIOMode=SimpleNamespace(INPUT="INPUT", OUTPUT="OUTPUT"),
    )


def engine_file(folder: Path, **plan: Any) -> Path:
    path = folder / "model.engine"
    path.write_text(json.dumps({"batch": 1, **plan}))
    return path


def shares(pixels: np.ndarray) -> np.ndarray:
    """What the stand-in kernel computes, in numpy."""
    sums = pixels.reshape(len(pixels), -1, 3).astype(np.float64).sum(axis=1)
    return sums / sums.sum(axis=1, keepdims=True)


@needs_compiler
@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("batch", [1, 4, -1])
def test_images_go_in_and_their_own_answers_come_out(
    fake: Any, tensorrt: Any, library: str, tmp_path: Path, batch: int, graph: bool
) -> None:
    session = trt.Session(engine_file(tmp_path, batch=batch), tensorrt, cuda_graph=graph, cuda=Cudart(library))
    session.warm_up(0)
    for seed, count in enumerate([1, 7, 4, 70, 1]):
        pixels, classes = colour_pixels(count, seed=seed)
        outputs = session.run(pixels)
        assert np.allclose(outputs.probabilities, shares(pixels), atol=1e-5)
        assert (outputs.probabilities.argmax(axis=1) == classes).all()
        assert outputs.known.shape == (count,)
    assert [array.shape for array in session.run(np.zeros((0, SIZE, SIZE, 3), np.uint8))] == [(0, 3), (0, 3), (0,)]
    assert session.describe()["cuda_graph"] == ("on" if graph and batch > 0 else "off")
    session.close()


@needs_compiler
def test_earlier_answers_are_not_overwritten_by_later_ones(
    fake: Any, tensorrt: Any, library: str, tmp_path: Path
) -> None:
    session = trt.Session(engine_file(tmp_path), tensorrt, cuda=Cudart(library))
    first_pixels, second_pixels = colour_pixels(2)[0][:1], colour_pixels(2)[0][1:]
    first = session.run(first_pixels)
    session.run(second_pixels)
    assert np.allclose(first.probabilities, shares(first_pixels), atol=1e-5)
    session.close()
    session.close()
    assert np.allclose(first.probabilities, shares(first_pixels), atol=1e-5)


@needs_compiler
def test_a_refused_recording_is_said_and_the_session_goes_on(
    fake: Any, tensorrt: Any, library: str, tmp_path: Path
) -> None:
    fake.fake_refuse_capture(1)
    session = trt.Session(engine_file(tmp_path), tensorrt, cuda_graph=True, cuda=Cudart(library))
    assert session.describe()["cuda_graph"].startswith("refused: cudaStreamEndCapture failed")
    pixels, _ = colour_pixels(3)
    assert np.allclose(session.run(pixels).probabilities, shares(pixels), atol=1e-5)
    session.close()


@needs_compiler
def test_an_engine_that_does_not_load_run_or_fit_is_an_error_that_frees_everything(
    fake: Any, tensorrt: Any, library: str, tmp_path: Path
) -> None:
    cuda = Cudart(library)
    (tmp_path / "other.engine").write_bytes(b"plan")
    with pytest.raises(TargetError, match=r"does not load .*built by another version"):
        trt.Session(tmp_path / "other.engine", tensorrt, cuda=cuda)
    with pytest.raises(TargetError, match="cannot read"):
        trt.Session(tmp_path / "missing.engine", tensorrt, cuda=cuda)
    with pytest.raises(TargetError, match="not image uint8"):
        trt.Session(engine_file(tmp_path, dtypes={"image": "FLOAT"}), tensorrt, cuda=cuda)
    session = trt.Session(engine_file(tmp_path, fails=True), tensorrt, cuda=cuda)
    with pytest.raises(TargetError, match="failed to run: kernel failed"):
        session.run(colour_pixels(1)[0])
    session.close()
    with pytest.raises(TargetError, match="failed to run"):  # here while the recording is prepared
        trt.Session(engine_file(tmp_path, fails=True), tensorrt, cuda_graph=True, cuda=cuda)
    session = trt.Session(engine_file(tmp_path), tensorrt, cuda=cuda)
    with pytest.raises(TargetError, match=r"takes uint8 \[N, 16, 16, 3\]"):
        session.run(np.zeros((1, SIZE, SIZE, 3), np.float32))
    session.close()


@needs_compiler
def test_cuda_errors_keep_cudas_words(fake: Any, library: str) -> None:
    cuda = Cudart(library)
    with pytest.raises(TargetError, match=r"cudaMalloc failed: out of memory \(2\)") as caught:
        cuda.malloc(1 << 40)
    assert "memory is full" in caught.value.todo
    assert cuda.memory() == (3 << 20, 8 << 20)


def test_a_missing_library_says_what_was_tried() -> None:
    with pytest.raises(TargetError, match=r"no CUDA runtime library: tried libnothing\.so"):
        Cudart("libnothing.so")
    assert gpus("libnothing.so") == []


def test_a_missing_tensorrt_says_where_it_comes_from() -> None:
    with pytest.raises(TargetError, match="tensorrt_of_the_future cannot be imported") as caught:
        trt.load_tensorrt("tensorrt_of_the_future")
    assert "--system-site-packages" in caught.value.todo


# ------------------------------------------------------------------ a real parser and builder, which needs no GPU


@pytest.fixture(scope="module")
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    onnx.save(colour_model(), path)
    return path


def test_a_graph_of_our_contract_is_built_with_its_sidecar(rtx: Any, model: Path, tmp_path: Path) -> None:
    engine = tmp_path / "engines" / "fp32.engine"
    assert trt.why_stale(model, engine, rtx) == "there is none yet"
    sidecar = trt.compile(model, engine, rtx, workspace_mb=64)
    assert engine.stat().st_size > 1000
    assert json.loads(trt.sidecar_of(engine).read_text()) == sidecar
    assert sidecar["tensorrt"] == rtx.__version__
    assert trt.why_stale(model, engine, rtx) is None


def test_a_dynamic_batch_gets_its_profile(rtx: Any, tmp_path: Path) -> None:
    path = tmp_path / "dynamic.onnx"
    onnx.save(colour_model("batch"), path)
    assert len(trt.build_plan(path, rtx)) > 1000


def test_any_difference_makes_an_engine_stale(rtx: Any, model: Path, tmp_path: Path) -> None:
    engine = tmp_path / "fp32.engine"
    trt.compile(model, engine, rtx)
    sidecar = json.loads(trt.sidecar_of(engine).read_text())
    for key, value in {"tensorrt": "8.6", "gpu": "another", "power_mode": "MAXN", "multiprocessors": 7}.items():
        trt.sidecar_of(engine).write_text(json.dumps({**sidecar, key: value}))
        assert (trt.why_stale(model, engine, rtx) or "").startswith(f"{key} was {value!r}")
    trt.sidecar_of(engine).write_text(json.dumps(sidecar))
    onnx.save(colour_model(extra=2 * np.eye(3)), model)
    assert "onnx_sha256 was" in (trt.why_stale(model, engine, rtx) or "")
    onnx.save(colour_model(), model)
    engine.write_bytes(b"cut")
    assert trt.why_stale(model, engine, rtx) == "its content is not what was built"


def test_what_the_parser_refuses_is_repeated(rtx: Any, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    with pytest.raises(TargetError, match="does not accept"):
        trt.build_plan(tmp_path / "bad.onnx", rtx)
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
        trt.build_plan(tmp_path / "order.onnx", rtx)
    assert "\n" not in caught.value.wrong


def test_too_little_memory_stops_before_the_build(rtx: Any, model: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"MB of memory are free, a build here needs"):
        trt.compile(model, tmp_path / "x.engine", rtx, free_mb=1 << 40)
    assert not (tmp_path / "x.engine").exists()
