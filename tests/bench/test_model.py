"""Files and folders become models by what they are, under names that tell them apart."""

from __future__ import annotations

import json
from pathlib import Path

import measured
import pytest
from bundles import change_manifest, colour_model, write_bundle
from tiny_graphs import means, saved

from edgedistill.bench.model import find_models
from edgedistill.errors import InputError
from edgedistill.targets.errors import TargetError
from edgedistill.verdict.decide import decide
from edgedistill.verdict.results import read_result


def test_every_model_of_a_bundle_runs_on_its_check_images(tmp_path: Path) -> None:
    write_bundle(tmp_path / "parts", models={"fp32": colour_model(), "fp16": colour_model()})
    write_bundle(tmp_path / "single")
    saved(tmp_path / "other.onnx", means(x=("float32", [1])))
    models = find_models([tmp_path / "parts", tmp_path / "single", tmp_path / "other.onnx"])
    assert [model.name for model in models] == ["parts fp32", "parts fp16", "single", "other"]
    assert models[0].images == tmp_path / "parts/check/images.npy"
    assert models[3].images is None
    assert {model.accuracy for model in models} == {None}


def test_a_bundle_knows_the_accuracy_that_its_own_verdict_holds(tmp_path: Path) -> None:
    check, manifest = measured.check_set(600, labelled=600, teacher_wrong=30), measured.manifest()
    written = measured.written(tmp_path, measured.result(check, precision="fp16"))
    result = read_result(written, manifest, measured.MANIFEST_SHA256, len(check))
    bundle = write_bundle(tmp_path / "parts", models={"fp32": colour_model(), "fp16": colour_model()})
    (bundle / "verdict.json").write_text(json.dumps(decide(manifest, check, [result], named=True).to_json()))
    assert [model.accuracy for model in find_models([bundle])] == [None, None]  # it is another build's
    change_manifest(bundle, build_id=measured.BUILD_ID)
    assert [model.accuracy for model in find_models([bundle])] == [None, 570 / 600]


def test_models_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(saved(tmp_path / folder / "model.onnx", means(x=("float32", [1]))))
    assert [model.name for model in find_models(paths)] == [str(path) for path in paths]


@pytest.mark.parametrize(
    ("name", "error", "said"),
    [
        ("absent.onnx", InputError, "there is no"),
        ("weights.pt", InputError, "no model that can be told by its name"),
        ("folder", TargetError, "not a bundle"),
    ],
)
def test_what_is_no_model_is_refused(tmp_path: Path, name: str, error: type[Exception], said: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "weights.pt").write_bytes(b"")
    with pytest.raises(error, match=said):
        find_models([tmp_path / name])


def test_an_engine_runs_under_tensorrt_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "fp16.engine").write_bytes(b"")
    saved(tmp_path / "other.onnx", means(x=("float32", [1])))
    engine, other = find_models([tmp_path / "fp16.engine", tmp_path / "other.onnx"])
    assert engine.file_for("tensorrt") == engine.path
    with pytest.raises(InputError, match="is an engine, onnxruntime-cpu reads ONNX files"):
        engine.file_for("onnxruntime-cpu")
    with pytest.raises(InputError, match="is no engine, and tensorrt runs nothing else"):
        other.file_for("tensorrt")
