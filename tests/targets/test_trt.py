"""The TensorRT session without a GPU: the CUDA runtime is host memory behind the same symbols, and TensorRT is a
stand-in that has the names of three versions and reads the addresses it is given (fake_tensorrt.py).

What only a GPU can show (that a real engine deserialises and is fast) is not claimed here.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import fake_tensorrt
import numpy as np
import pytest
from bundles import SIZE, colour_pixels, write_bundle

from edgedistill.targets import result, trt, trt_sidecar
from edgedistill.targets.cudart import Cudart, gpus
from edgedistill.targets.errors import TargetError
from edgedistill.targets.length import Loop
from edgedistill.targets.manifest import read_manifest
from edgedistill.targets.runtimes import Candidate


@pytest.fixture
def fake(cudart_library: str) -> Iterator[Any]:
    """The stand-in runtime's own switches; every test has to free what it took."""
    handle = ctypes.CDLL(cudart_library)
    handle.fake_refuse_capture(0)
    before = handle.fake_live()
    yield handle
    assert handle.fake_live() == before


@pytest.fixture
def board() -> fake_tensorrt.Board:
    return fake_tensorrt.Board()


@pytest.fixture(params=fake_tensorrt.VERSIONS)
def tensorrt(request: pytest.FixtureRequest, fake: Any, board: fake_tensorrt.Board) -> Any:
    return fake_tensorrt.module(request.param, fake.fake_kernel, board)


@pytest.fixture
def cuda(cudart_library: str) -> Cudart:
    return Cudart(cudart_library)


def engine_file(folder: Path, tensorrt: Any, **plan: Any) -> Path:
    path = folder / "model.engine"
    path.write_text(json.dumps({"version": tensorrt.__version__, "size": SIZE, "batch": 1, "dla_core": -1, **plan}))
    return path


def shares(pixels: np.ndarray) -> np.ndarray:
    """What the stand-in kernel computes, in numpy."""
    sums = pixels.reshape(len(pixels), -1, 3).astype(np.float64).sum(axis=1)
    return sums / sums.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("batch", [1, 4, -1])
def test_images_go_in_and_their_own_answers_come_out(
    cuda: Cudart, tensorrt: Any, tmp_path: Path, batch: int, graph: bool
) -> None:
    session = trt.Session(engine_file(tmp_path, tensorrt, batch=batch), tensorrt, cuda_graph=graph, cuda=cuda)
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


def test_earlier_answers_are_not_overwritten_by_later_ones(cuda: Cudart, tensorrt: Any, tmp_path: Path) -> None:
    session = trt.Session(engine_file(tmp_path, tensorrt), tensorrt, cuda=cuda)
    first_pixels, second_pixels = colour_pixels(2)[0][:1], colour_pixels(2)[0][1:]
    first = session.run(first_pixels)
    session.run(second_pixels)
    assert np.allclose(first.probabilities, shares(first_pixels), atol=1e-5)
    session.close()
    session.close()
    assert np.allclose(first.probabilities, shares(first_pixels), atol=1e-5)


@pytest.mark.parametrize("graph", [False, True])
def test_the_models_own_time_leaves_the_copies_out(cuda: Cudart, tensorrt: Any, tmp_path: Path, graph: bool) -> None:
    session = trt.Session(engine_file(tmp_path, tensorrt), tensorrt, cuda_graph=graph, cuda=cuda)
    assert session.model_ms(5).tolist() == [1.0] * 5  # of the stand-in's clock: a kernel; a copy would take 10
    pixels, _ = colour_pixels(3)
    assert np.allclose(session.run(pixels).probabilities, shares(pixels), atol=1e-5)
    session.close()


def test_a_refused_recording_is_said_and_the_session_goes_on(
    fake: Any, cuda: Cudart, tensorrt: Any, tmp_path: Path
) -> None:
    fake.fake_refuse_capture(1)
    session = trt.Session(engine_file(tmp_path, tensorrt), tensorrt, cuda_graph=True, cuda=cuda)
    assert session.describe()["cuda_graph"].startswith("refused: cudaStreamEndCapture failed")
    pixels, _ = colour_pixels(3)
    assert np.allclose(session.run(pixels).probabilities, shares(pixels), atol=1e-5)
    session.close()


def test_an_engine_that_does_not_load_run_or_fit_is_an_error_that_frees_everything(
    cuda: Cudart, tensorrt: Any, board: fake_tensorrt.Board, tmp_path: Path
) -> None:
    (tmp_path / "other.engine").write_bytes(b"plan")
    with pytest.raises(TargetError, match=r"does not load .*built by another version"):
        trt.Session(tmp_path / "other.engine", tensorrt, cuda=cuda)
    with pytest.raises(TargetError, match="cannot read"):
        trt.Session(tmp_path / "missing.engine", tensorrt, cuda=cuda)
    with pytest.raises(TargetError, match="not image uint8"):
        trt.Session(engine_file(tmp_path, tensorrt, dtypes={"image": "FLOAT"}), tensorrt, cuda=cuda)
    engine = engine_file(tmp_path, tensorrt)
    session = trt.Session(engine, tensorrt, cuda=cuda)
    with pytest.raises(TargetError, match=r"takes uint8 \[N, 16, 16, 3\]"):
        session.run(np.zeros((1, SIZE, SIZE, 3), np.float32))
    board.fails = True
    with pytest.raises(TargetError, match="failed to run: kernel failed"):
        session.run(colour_pixels(1)[0])
    with pytest.raises(TargetError, match="failed to run: kernel failed"):
        session.model_ms(1)
    session.close()
    with pytest.raises(TargetError, match="failed to run"):  # here while the recording is prepared
        trt.Session(engine, tensorrt, cuda_graph=True, cuda=cuda)


def test_an_engine_from_elsewhere_is_refused_by_the_name_of_what_differs(
    cuda: Cudart, tensorrt: Any, tmp_path: Path
) -> None:
    engine = engine_file(tmp_path, tensorrt)
    onnx = tmp_path / "model.onnx"
    onnx.write_bytes(b"graph")
    here = trt_sidecar.place_of(tensorrt)
    sidecar = trt_sidecar.write_sidecar(engine, onnx, here, trt_sidecar.Options(), {})
    trt.Session(engine, tensorrt, cuda=cuda).close()
    for key, value in {"gpu": "Orin", "version": "8.6.1", "multiprocessors": 8, "library": "tensorrt_rtx"}.items():
        trt_sidecar.sidecar_of(engine).write_text(json.dumps({**sidecar, key: value}))
        with pytest.raises(TargetError, match=f"does not fit this machine: {key} was {value!r} and is ") as caught:
            trt.Session(engine, tensorrt, cuda=cuda)
        assert "run.py compile" in caught.value.todo


def test_a_dla_engine_is_loaded_for_its_core(cuda: Cudart, tensorrt: Any, tmp_path: Path) -> None:
    engine = engine_file(tmp_path, tensorrt, dla_core=1)
    onnx = tmp_path / "model.onnx"
    onnx.write_bytes(b"graph")
    options = trt_sidecar.Options(dla_core=1)
    trt_sidecar.write_sidecar(engine, onnx, trt_sidecar.place_of(tensorrt), options, {})
    session = trt.Session(engine, tensorrt, cuda=cuda)
    assert session.describe()["dla_core"] == 1
    session.close()


def test_a_bundle_is_measured_with_the_models_own_time_beside_the_latency(
    cuda: Cudart, tensorrt: Any, board: fake_tensorrt.Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trt, "load_tensorrt", lambda: tensorrt)
    monkeypatch.setattr(trt, "Cudart", lambda: cuda)
    manifest = read_manifest(write_bundle(tmp_path / "bundle", profile="jetson-orin-nano"))
    loop = Loop(warmup_s=0, min_s=0.01, min_queries=1)
    (found,) = result.measure_candidates(manifest, [Candidate("fp32", "tensorrt")], loop, None)
    assert found["predictions"] == [index % 3 for index in range(60)]
    assert found["runtime"] == {
        **{"name": "tensorrt", "version": tensorrt.__version__, "provider": "TensorRT", "threads": None},
        **{"cuda_graph": "on", "dla_core": None, "model_p50_ms": 1.0},
    }
    assert found["latency_ms"]["queries"] >= 400
    (build,) = board.builds
    assert build["workspace_mb"] == manifest.profile["engine"]["workspace_mb"]


def test_where_cuda_does_not_start_tensorrt_alone_is_lost(
    cuda: Cudart, tensorrt: Any, board: fake_tensorrt.Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.starts = False
    with pytest.raises(TargetError, match=r"cannot start CUDA: CUDA initialization failure with error: 35\. Please"):
        trt.Session(engine_file(tmp_path, tensorrt), tensorrt, cuda=cuda)
    monkeypatch.setattr(trt, "load_tensorrt", lambda: tensorrt)
    monkeypatch.setattr(trt, "Cudart", lambda: cuda)
    manifest = read_manifest(write_bundle(tmp_path / "bundle", profile="jetson-orin-nano"))
    loop = Loop(warmup_s=0, min_s=0.01, min_queries=1)
    both = [Candidate("fp32", "tensorrt"), Candidate("fp32", "onnxruntime-cpu")]
    lost, other = result.measure_candidates(manifest, both, loop, None)
    assert lost["failed"]["wrong"].startswith(
        f"TensorRT {tensorrt.__version__} cannot start CUDA: CUDA initialization failure"
    )
    assert lost["failed"]["todo"].endswith("see nvidia-smi.")
    assert other["predictions"] == [index % 3 for index in range(60)]


def test_cuda_errors_keep_cudas_words(cuda: Cudart) -> None:
    with pytest.raises(TargetError, match=r"cudaMalloc failed: out of memory \(2\)") as caught:
        cuda.malloc(1 << 40)
    assert "memory is full" in caught.value.todo
    assert cuda.memory() == (3 << 20, 8 << 20)


def test_a_machine_without_a_driver_has_no_gpu() -> None:
    assert gpus("libnothing.so") == []


def test_a_missing_tensorrt_says_where_it_comes_from() -> None:
    with pytest.raises(TargetError, match="tensorrt_of_the_future cannot be imported") as caught:
        trt.load_tensorrt("tensorrt_of_the_future")
    assert "--system-site-packages" in caught.value.todo


@pytest.mark.parametrize("version", ["8.6.1", "10.0.1.6", "10.2.0"])
def test_a_tensorrt_that_is_too_old_is_refused_by_name(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", ModuleType("tensorrt"))
    monkeypatch.setattr(sys.modules["tensorrt"], "__version__", version, raising=False)
    with pytest.raises(TargetError, match=f"TensorRT {re.escape(version)} is too old: 10.3 is the oldest") as caught:
        trt.load_tensorrt()
    assert "JetPack 6.1" in caught.value.todo
    for later in fake_tensorrt.VERSIONS:
        monkeypatch.setattr(sys.modules["tensorrt"], "__version__", later)
        assert trt.load_tensorrt().__version__ == later
