"""int8 graphs: what is quantised and what never is, in both dialects; and the choices that are made by measuring."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hard_for_int8
import numpy as np
import onnx
import onnxruntime
import pytest
import tiny_bundle
from hard_for_int8 import images
from onnx import TensorProto, numpy_helper

from edgedistill.distil.config import TrainConfig
from edgedistill.export.calibrate import METHODS, Photos, drawn, ranges
from edgedistill.export.graph import GraphFacts, GraphSpec, check_graph
from edgedistill.export.int8 import ENOUGH, FineTuned, Int8Graph, Likeness, flaw_of, make_int8
from edgedistill.export.models import TOLERANCE, Int8, export_models
from edgedistill.export.quantise import ONNXRUNTIME, TENSORRT, Dialect, dialect_for, layers, quantisable, quantised
from edgedistill.export.speed import CLEARLY, trial
from edgedistill.export.stages import Shipped
from edgedistill.profiles import load_profile
from edgedistill.targets.golden import FARTHEST
from edgedistill.targets.ort import Session
from edgedistill.targets.providers import Settings

PHOTOS = Photos(images(8), images(48, seed=1), seed=3)


@pytest.fixture(scope="module")
def easy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hard_for_int8.write(tmp_path_factory.mktemp("easy") / "fp32.onnx", loudness=1.0)


@pytest.fixture(scope="module")
def hard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hard_for_int8.write(tmp_path_factory.mktemp("hard") / "fp32.onnx")


def run(path: Path, asked: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.concatenate([session.run(["probabilities"], {"image": image[None]})[0] for image in asked])


def made(path: Path, dialect: Dialect, floating: tuple[str, ...] = ()) -> onnx.ModelProto:
    found = ranges(path, images(4), dialect.operators, "minmax", symmetric=dialect.symmetric)
    return quantised(onnx.load(path), found, dialect, floating=floating)


def test_a_real_student_in_int8_keeps_the_contract_of_every_graph(tmp_path: Path) -> None:
    exports = export_models(
        tiny_bundle.student(),
        tiny_bundle.vectors(),
        tmp_path,
        facts=GraphFacts(labels=tiny_bundle.FOUR_CLASSES, teacher_id="teacher", build_id="b" * 64),
        images=tiny_bundle.pixels(8),
        spec=GraphSpec(size=tiny_bundle.SIZE),
        precisions=("int8",),
        int8=Int8(dialect=ONNXRUNTIME, photos=Photos(tiny_bundle.pixels(8), tiny_bundle.pixels(24)[8:], seed=0)),
    )
    assert [model.precision for model in exports.models] == ["fp32", "int8"]
    model, fp32 = (onnx.load(tmp_path / f"{name}.onnx") for name in ("int8", "fp32"))
    check_graph(model, GraphSpec(size=tiny_bundle.SIZE))
    assert model.metadata_props == fp32.metadata_props  # labels, preprocessing: the file describes itself
    assert exports.models[1].bytes < exports.models[0].bytes
    assert exports.models[1].golden_tolerance == TOLERANCE["int8"]  # from its own answers, however far they drifted
    own = exports.answers["int8"]
    for optimisation in ("all", "off"):  # integer kernels, and the same steps one by one in float
        session = Session(tmp_path / "int8.onnx", threads=1, settings=Settings(optimisation=optimisation))
        found = session.run(tiny_bundle.pixels(8))
        assert np.abs(found.probabilities - own["probabilities"]).max() < TOLERANCE["int8"] / 2
        assert np.linalg.norm(found.embedding - own["embedding"], axis=1).max() < FARTHEST["int8"] / 2


@pytest.mark.parametrize("dialect", [ONNXRUNTIME, TENSORRT], ids=lambda dialect: dialect.name)
def test_the_backbone_is_int8_and_projection_and_head_are_float(easy: Path, dialect: Dialect) -> None:
    model = made(easy, dialect)
    onnx.checker.check_model(model, full_check=True)
    stored = {item.name: item.data_type for item in model.graph.initializer}
    assert {stored[name] for name in ("student.projector.0.weight", "class_vectors", "class_bias", "scale")} == {
        TensorProto.FLOAT
    }
    weights = {name: kind for name, kind in stored.items() if name.startswith("student.backbone") and "quant" in name}
    assert list(weights.values()).count(TensorProto.INT8) >= 4
    assert not {name for name in stored if name.startswith("student.backbone") and name.endswith(".weight")}
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 18)]


def test_the_dialect_of_tensorrt_has_no_zero_points_and_no_integer_bias(easy: Path) -> None:
    model = made(easy, TENSORRT)
    stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    nodes = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    zero_points = [stored[node.input[2]] for node in nodes]
    assert {array.dtype for array in zero_points} == {np.dtype(np.int8)}
    assert not any(array.any() for array in zero_points)


def test_the_dialect_of_onnxruntime_has_unsigned_activations(easy: Path) -> None:
    model = made(easy, ONNXRUNTIME)
    stored = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    kinds = {stored[node.input[2]].dtype for node in model.graph.node if node.op_type == "QuantizeLinear"}
    assert kinds == {np.dtype(np.uint8)}


def test_a_layer_that_is_left_in_float_keeps_its_weights(easy: Path) -> None:
    model = onnx.load(easy)
    first, *others = layers(model, quantisable(model, ONNXRUNTIME))
    weights = {node.name: node.input[1] for node in model.graph.node if node.op_type == "Conv"}
    kept = {item.name for item in made(easy, ONNXRUNTIME, (first,)).graph.initializer}
    assert weights[first] in kept
    assert not kept.intersection(weights[other] for other in others)


@pytest.mark.parametrize(
    ("runtimes", "dialect"),
    [
        (("onnxruntime-cpu",), ONNXRUNTIME),
        (load_profile("intel-n100").runtime.prefer, ONNXRUNTIME),
        (("onnxruntime-openvino",), ONNXRUNTIME),
        (("tensorrt", "onnxruntime-cuda"), TENSORRT),
        (("onnxruntime-cpu", "tensorrt"), TENSORRT),
    ],
)
def test_the_dialect_is_one_that_every_runtime_of_the_board_reads(runtimes: tuple[str, ...], dialect: Dialect) -> None:
    assert dialect_for(runtimes) is dialect


@pytest.mark.parametrize(
    ("profile", "tried"), [("cpu", True), ("intel-n100", True), ("cuda", False), ("jetson-orin-nano", False)]
)
def test_a_board_whose_processor_runs_int8_gets_the_trial(
    monkeypatch: pytest.MonkeyPatch, profile: str, tried: bool
) -> None:
    monkeypatch.setattr(Photos, "of", lambda *_: PHOTOS)
    nothing: Any = SimpleNamespace(store=None, rows=None)
    student = Shipped(nothing, nothing, nothing, nothing, nothing, TrainConfig(size=32, batch=8), nothing)
    runtime = load_profile(profile).runtime
    assert (student.int8(runtime, fine_tune=False, only_if_faster=True).worth is not None) == tried
    assert student.int8(runtime, fine_tune=False, only_if_faster=False).worth is None


def test_nothing_is_printed(easy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ranges(easy, images(2), ONNXRUNTIME.operators, "entropy", symmetric=False)
    made(easy, ONNXRUNTIME)
    assert capsys.readouterr().out == ""


# ---- photos ----------------------------------------------------------------------------------------------------------


def test_the_sample_is_of_the_rows_that_trained_and_no_photo_is_in_both_parts() -> None:
    rows = np.arange(5000, 6000)
    calibrating, judging = drawn(rows, seed=1)
    assert (len(calibrating), len(judging)) == (128, 256)
    assert set(calibrating) | set(judging) <= set(rows)
    assert not set(calibrating) & set(judging)
    again = drawn(rows[::-1], seed=1)
    assert all((one == other).all() for one, other in zip(again, (calibrating, judging)))
    assert (drawn(rows, seed=2)[0] != calibrating).any()


def test_of_a_small_pool_a_third_calibrates() -> None:
    calibrating, judging = drawn(np.arange(9), seed=0)
    assert (len(calibrating), len(judging)) == (3, 6)


# ---- what is chosen by measuring -------------------------------------------------------------------------------------


def no_fine_tuning() -> FineTuned:
    raise AssertionError("fine-tuned although int8 is close enough")


def test_where_int8_is_close_enough_nothing_stays_in_float_and_nothing_is_trained(easy: Path, tmp_path: Path) -> None:
    found = make_int8(easy, PHOTOS, ONNXRUNTIME, no_fine_tuning)
    facts = found.facts
    assert (facts.floating, facts.fine_tuned, facts.layers) == ((), "", 4)
    assert (facts.photos, facts.judged, facts.seed) == (8, 48, 3)
    assert set(facts.tried) == set(METHODS)
    onnx.save(found.model, tmp_path / "int8.onnx")
    own, fp32 = (run(path, PHOTOS.judging).argmax(axis=1) for path in (tmp_path / "int8.onnx", easy))
    assert facts.agreement == pytest.approx((own == fp32).mean(), abs=1e-4)


@pytest.mark.parametrize("dialect", [ONNXRUNTIME, TENSORRT], ids=lambda dialect: dialect.name)
def test_the_layers_that_int8_cannot_hold_are_found_and_stay_in_float(hard: Path, dialect: Dialect) -> None:
    found = make_int8(hard, PHOTOS, dialect, no_fine_tuning)
    assert max(found.facts.tried.values()) < ENOUGH <= found.facts.agreement
    assert {"loud", "reads"} & set(found.facts.floating)
    assert len(found.facts.floating) <= 2
    kept = {item.name for item in found.model.graph.initializer}
    assert {f"student.backbone.{name}.weight" for name in found.facts.floating} <= kept


def test_fine_tuning_is_asked_for_only_where_no_float_layer_helps(
    hard: Path, easy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgedistill.export.int8.MOST_FLOATING", 0.0)
    without = make_int8(hard, PHOTOS, ONNXRUNTIME)
    assert not without.likeness.enough
    found = make_int8(hard, PHOTOS, ONNXRUNTIME, lambda: FineTuned(easy, "trained on for 3 epochs"))
    assert found.facts.fine_tuned == "trained on for 3 epochs"
    assert found.likeness.enough  # in the answers of the fp32 graph that ships, which the other one shares


def test_nothing_is_done_for_the_accuracy_of_an_int8_that_cannot_be_faster(hard: Path, easy: Path) -> None:
    asked = []

    def slower(int8: Path, fp32: Path) -> bool:
        asked.append((onnx.load(int8).graph.name, fp32))
        return False

    assert make_int8(hard, PHOTOS, ONNXRUNTIME, no_fine_tuning, slower).facts.floating == ()
    assert asked == [("edgedistill", hard)]
    make_int8(easy, PHOTOS, ONNXRUNTIME, no_fine_tuning, slower)
    assert len(asked) == 1  # close enough: nothing to decide


def test_a_short_trial_says_what_share_of_the_time_a_graph_takes(easy: Path) -> None:
    faster, words = trial(easy, easy, PHOTOS.judging, 1)
    (share,) = re.fullmatch(r"in a short trial int8 took (\d\.\d\d) of fp32's time", words).groups()  # type: ignore[union-attr]
    assert 0.5 < float(share) < 2  # of itself
    assert faster == (float(share) <= CLEARLY)


@pytest.mark.parametrize(
    ("agreement", "flaw"),
    [
        (0.90, None),
        (0.88, "it chooses another class than fp32 on 6 of 50 photos of the pool"),
        (0.0, "it chooses another class than fp32 on 50 of 50 photos of the pool"),
    ],
)
def test_a_graph_that_chooses_otherwise_on_too_many_photos_is_left_out(
    easy: Path, agreement: float, flaw: str | None
) -> None:
    facts = replace(make_int8(easy, PHOTOS, ONNXRUNTIME).facts, judged=50)
    assert flaw_of(Int8Graph(onnx.ModelProto(), facts, Likeness(agreement, 1.0))) == flaw


def test_export_turns_the_telemetry_of_onnxruntime_off_before_it_is_imported(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("ORT_", "XDG_"))}
    environment |= {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", "import edgedistill.export.int8"]
    subprocess.run(command, env=environment, capture_output=True, check=True, timeout=60)
    assert [*tmp_path.rglob("*")] == []
