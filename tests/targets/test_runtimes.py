"""The profile's first runtime that works is taken, nothing else unless it is asked for by name."""

from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import fake_tensorrt
import pytest
from bundles import colour_model, colour_pixels, expected_probabilities, write_bundle, write_verdict

from edgedistill.profiles import load_profile
from edgedistill.targets import cores, cudart, machine, names, providers, runtimes, trt_sidecar
from edgedistill.targets.errors import TargetError
from edgedistill.targets.manifest import Manifest, read_manifest
from edgedistill.targets.runtimes import Candidate

without_gpu = pytest.mark.skipif(bool(cudart.gpus()), reason="this machine has a GPU")
without_tensorrt = pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is here")


def bundle(folder: Path, *, model: dict[str, Any] | None = None, **runtime: Any) -> Manifest:
    """A bundle for the cpu profile with these keys of [model] and [runtime] changed."""
    profile = load_profile("cpu").to_json()
    profile["runtime"] |= runtime
    profile["model"] |= model or {}
    models = {"fp32": colour_model(), "fp16": colour_model()}
    return read_manifest(write_bundle(folder / "bundle", profile=profile, models=models))


def test_every_runtime_that_can_be_named_has_its_code() -> None:
    assert {*providers.PROVIDERS, names.TENSORRT, names.TORCH_TENSORRT} == set(names.RUNTIMES)


@without_gpu
def test_the_first_of_the_profile_that_works_is_chosen(tmp_path: Path) -> None:
    manifest = bundle(tmp_path, prefer=["a runtime of tomorrow", "onnxruntime-cuda", "onnxruntime-cpu"])
    assert runtimes.choose(manifest, None) == "onnxruntime-cpu"


@without_gpu
def test_a_profile_without_the_cpu_never_falls_back_to_it(tmp_path: Path) -> None:
    manifest = bundle(tmp_path, prefer=["tensorrt", "onnxruntime-cuda"])
    with pytest.raises(TargetError) as caught:
        runtimes.choose(manifest, None)
    assert "tensorrt: " in caught.value.wrong
    assert "onnxruntime-cuda: " in caught.value.wrong
    assert runtimes.choose(manifest, "onnxruntime-cpu") == "onnxruntime-cpu"


def test_a_name_nobody_knows_is_answered_with_those_known(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="unknown runtime 'openvino'") as caught:
        runtimes.choose(bundle(tmp_path), "openvino")
    assert all(name in caught.value.todo for name in runtimes.RUNTIMES)
    with pytest.raises(TargetError, match="none is known here"):
        runtimes.choose(bundle(tmp_path / "other", prefer=["openvino"]), None)


@without_gpu
def test_what_was_asked_for_and_does_not_work_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"CUDAExecutionProvider|needs an NVIDIA GPU"):
        runtimes.choose(bundle(tmp_path), "onnxruntime-cuda")


def test_precisions_come_in_the_profiles_order_and_all_that_are_built(tmp_path: Path) -> None:
    assert runtimes.precisions(bundle(tmp_path / "a", model={"precisions": ["fp16", "int8"]})) == ["fp16", "fp32"]
    assert runtimes.precisions(bundle(tmp_path / "b", model={"precisions": ["int8"]})) == ["fp32", "fp16"]


@without_gpu
def test_candidates_are_every_model_under_every_runtime_that_works(tmp_path: Path) -> None:
    manifest = bundle(tmp_path, prefer=["onnxruntime-cuda", "onnxruntime-cpu"])
    both = [Candidate("fp32", "onnxruntime-cpu"), Candidate("fp16", "onnxruntime-cpu")]
    assert runtimes.candidates(manifest, None, None) == both
    assert runtimes.candidates(manifest, ["fp16", "fp16"], ["onnxruntime-cpu"]) == both[1:]
    with pytest.raises(TargetError, match="holds no int8 model"):
        runtimes.candidates(manifest, ["int8"], None)
    with pytest.raises(TargetError, match=r"CUDAExecutionProvider|needs an NVIDIA GPU"):
        runtimes.candidates(manifest, None, ["onnxruntime-cpu", "onnxruntime-cuda"])


@pytest.mark.parametrize(("asked", "used"), [(None, 2), (1, 1)])
def test_threads_are_the_profiles_unless_given(tmp_path: Path, asked: int | None, used: int) -> None:
    session = runtimes.open_session(bundle(tmp_path, threads=2), "fp16", runtimes.CPU, asked)
    assert session.describe()["threads"] == used
    pixels, _ = colour_pixels(3)
    assert session.run(pixels).probabilities == pytest.approx(expected_probabilities(pixels), abs=1e-5)


@pytest.mark.parametrize(
    ("runtime", "fixed", "asked", "left"),
    [
        (names.CPU, 0, None, True),
        (names.OPENVINO, 0, None, True),
        (names.CPU, 0, 0, False),
        (names.CPU, 0, 2, False),
        (names.CPU, 4, None, False),
        (names.CUDA, 0, None, False),
        (names.TENSORRT, 0, None, False),
    ],
)
def test_threads_are_left_to_a_trial_on_a_processor_where_nobody_fixed_them(
    tmp_path: Path, runtime: str, fixed: int, asked: int | None, left: bool
) -> None:
    assert runtimes.leaves_threads(bundle(tmp_path, threads=fixed), runtime, asked) is left


def test_the_selected_candidate_has_the_threads_it_was_measured_with_on_its_board(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cores, "physical_cores", lambda: 2)
    manifest = bundle(tmp_path)
    assert runtimes.measured_threads(manifest, "fp16", names.CPU) is None
    write_verdict(manifest.path, manifest.build_id, "fp16", names.CPU)
    assert runtimes.measured_threads(manifest, "fp16", names.CPU) == 1
    assert runtimes.measured_threads(manifest, "fp32", names.CPU) is None
    assert runtimes.measured_threads(manifest, "fp16", names.OPENVINO) is None
    for other in ({"machine": "riscv64"}, {"cpu_model": "another", "model": ""}, {"emulated_on": "x86"}):
        with monkeypatch.context() as elsewhere:
            facts = dataclasses.replace(machine.read_facts(), **other)
            elsewhere.setattr(machine, "read_facts", lambda facts=facts, **_: facts)
            assert runtimes.measured_threads(manifest, "fp16", names.CPU) is None
    monkeypatch.setattr(cores, "physical_cores", lambda: 4)
    assert runtimes.measured_threads(manifest, "fp16", names.CPU) is None


def test_a_gpus_runtime_has_no_measured_threads(tmp_path: Path) -> None:
    manifest = bundle(tmp_path)
    write_verdict(manifest.path, manifest.build_id, "fp16", names.CUDA)
    assert runtimes.measured_threads(manifest, "fp16", names.CUDA) is None


def test_a_damaged_model_is_not_opened(tmp_path: Path) -> None:
    manifest = bundle(tmp_path)
    (manifest.path / "models" / "fp16.onnx").write_bytes(b"damaged")
    with pytest.raises(TargetError, match="is not the file that was built"):
        runtimes.open_session(manifest, "fp16", runtimes.CPU, 1)


@without_tensorrt
def test_an_engine_needs_tensorrt_and_leaves_nothing_behind(tmp_path: Path) -> None:
    manifest = bundle(tmp_path)
    with pytest.raises(TargetError, match="tensorrt cannot be imported"):
        runtimes.engine_of(manifest, "fp32")
    assert not (manifest.path / "engines").exists()


def test_an_engine_is_built_once_for_this_machine_and_again_when_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    board = fake_tensorrt.Board()
    older, newer = (fake_tensorrt.module(version, board=board) for version in ("10.3.0", "11.4.0.106"))
    monkeypatch.setattr(runtimes.trt, "load_tensorrt", lambda: older)
    monkeypatch.setattr(trt_sidecar, "power_mode", lambda: "MAXN")
    manifest = bundle(tmp_path)
    engine = runtimes.engine_of(manifest, "fp16")
    assert engine == manifest.path / "engines" / "fp16.engine"
    assert runtimes.engine_of(manifest, "fp16") == engine
    assert len(board.builds) == 1
    monkeypatch.setattr(trt_sidecar, "power_mode", lambda: "15W")
    runtimes.engine_of(manifest, "fp16")
    assert len(board.builds) == 1
    assert "power_mode was 'MAXN' and is '15W'" in caplog.text
    runtimes.engine_of(manifest, "fp16", again=True)
    assert len(board.builds) == 2
    monkeypatch.setattr(runtimes.trt, "load_tensorrt", lambda: newer)
    runtimes.engine_of(manifest, "fp16")
    assert len(board.builds) == 3
    assert "version was '10.3.0' and is '11.4.0.106'" in caplog.text


def test_the_profile_says_how_an_engine_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    board = fake_tensorrt.Board(dla_cores=2, dla=("Mul",))
    monkeypatch.setattr(runtimes.trt, "load_tensorrt", lambda: fake_tensorrt.module("10.3.0", board=board))
    profile = load_profile("cpu").to_json()
    profile["engine"] = {"workspace_mb": 256, "free_mb": None, "dla_core": 1}
    manifest = read_manifest(write_bundle(tmp_path / "bundle", profile=profile))
    runtimes.engine_of(manifest, "fp32")
    (build,) = board.builds
    assert (build["workspace_mb"], build["dla_core"]) == (256, 1)
