"""Cases are every combination, they survive a command line, and each opens under exactly its runtime."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bundles import change_manifest, colour_pixels, write_bundle
from onnx import TensorProto, helper
from tiny_graphs import means, saved

from edgedistill.bench import case as case_module
from edgedistill.bench.case import DEFAULTS, Case, cases, open_case
from edgedistill.bench.inputs import Given, Input, feeds
from edgedistill.bench.model import find_models
from edgedistill.errors import InputError
from edgedistill.targets.errors import TargetError
from edgedistill.targets.providers import Settings
from edgedistill.targets.session import Outputs

CPU = "onnxruntime-cpu"


def case_of(path: Path, **changes: Any) -> Case:
    facts = {"model": path.stem, "file": path, "runtime": CPU, "threads": 1, "batch": None, "given": Given()}
    return Case(**{**facts, **changes})


def test_every_combination_is_a_case_one_model_after_the_other(tmp_path: Path) -> None:
    for name in ("a", "b"):
        saved(tmp_path / f"{name}.onnx", means(x=("float32", ["n", 3])))
    models = find_models([tmp_path / "a.onnx", tmp_path / "b.onnx"])
    found = cases(models, [], [1, 2], [1, 8], Given())
    assert [(one.model, one.runtime, one.threads, one.batch) for one in found] == [
        (model, CPU, threads, batch) for model in "ab" for threads in (1, 2) for batch in (1, 8)
    ]
    (alone,) = cases(models[:1], [], [], [], Given())
    assert (alone.threads, alone.batch) == (None, None)


def test_a_bundle_runs_on_its_check_images_unless_something_is_given(tmp_path: Path) -> None:
    models = find_models([write_bundle(tmp_path / "parts")])
    (own,) = cases(models, [], [], [], Given())
    assert own.given.file == tmp_path / "parts/check/images.npy"
    (other,) = cases(models, [], [], [], Given(tmp_path / "x.npy"))
    assert other.given.file == tmp_path / "x.npy"


def test_a_bundle_runs_as_its_profile_says(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "parts")
    (own,) = cases(find_models([bundle]), [], [], [], Given())
    assert (own.threads, own.settings) == (None, DEFAULTS)
    profile = json.loads((bundle / "manifest.json").read_text())["profile"]
    profile["runtime"]["threads"], profile["onnxruntime"]["arena"] = 3, False
    change_manifest(bundle, profile=profile)
    (own,) = cases(find_models([bundle]), [], [], [], Given())
    assert (own.threads, own.settings.arena) == (3, False)
    assert Case.from_words(own.to_words()) == own
    (asked,) = cases(find_models([bundle]), [], [1], [], Given())
    assert asked.threads == 1


def test_a_runtime_that_is_not_here_or_not_known_is_refused(tmp_path: Path) -> None:
    models = find_models([saved(tmp_path / "a.onnx", means(x=("float32", [1])))])
    with pytest.raises(InputError, match="unknown runtime 'magic'"):
        cases(models, ["magic"], [], [], Given())
    with pytest.raises(TargetError, match="has no CUDAExecutionProvider"):
        cases(models, ["onnxruntime-cuda"], [], [], Given())
    (tmp_path / "a.engine").write_bytes(b"")
    with pytest.raises(TargetError, match="tensorrt cannot be imported"):
        cases(find_models([tmp_path / "a.engine"]), [], [], [], Given())


def test_a_case_survives_a_command_line(tmp_path: Path) -> None:
    for given in (Given(), Given(tmp_path / "x y.npy", {"x": (1, 3)})):
        case = case_of(tmp_path / "größe.onnx", given=given, accuracy=0.5)
        assert Case.from_words(case.to_words()) == case


@pytest.mark.parametrize("dtype", ["float32", "float16", "float64", "int64", "int32", "uint8", "int8", "bool"])
def test_any_tensor_of_numbers_is_read_from_the_file_and_fed(tmp_path: Path, dtype: str) -> None:
    path = saved(tmp_path / "model.onnx", means(x=(dtype, ["batch", 2, 5])))
    opened = open_case(case_of(path))
    assert opened.inputs == (Input("x", dtype, (None, 2, 5)),)
    feed = feeds(opened.inputs, 3, Given())[0]
    (mean,) = opened.run(feed)  # type: ignore[misc]
    assert mean == pytest.approx(feed["x"].astype(np.float32).mean(), rel=1e-3)
    assert opened.describe()["provider"] == "CPUExecutionProvider"
    opened.close()


def test_two_inputs_are_both_fed(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.onnx", means(ids=("int64", ["batch", 4]), image=("uint8", [1, 8, 8, 3])))
    opened = open_case(case_of(path))
    assert [one.shape for one in opened.inputs] == [(None, 4), (1, 8, 8, 3)]
    assert len(opened.run(feeds(opened.inputs, 2, Given())[0])) == 2  # type: ignore[arg-type]


def test_strings_are_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "words",
        [helper.make_tensor_value_info("x", TensorProto.STRING, [1])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, [1])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), tmp_path / "x.onnx")
    with pytest.raises(InputError, match=r"takes x as tensor\(string\)"):
        open_case(case_of(tmp_path / "x.onnx"))


def test_a_file_that_is_no_graph_is_refused(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a graph")
    with pytest.raises(TargetError, match=r"cannot load .*bad\.onnx"):
        open_case(case_of(tmp_path / "bad.onnx"))


class EngineSession:
    """What bench uses of trt.Session, which no machine of these tests can open."""

    size, fixed_batch = 16, 1

    def __init__(self, path: Path, library: object, *, cuda_graph: bool) -> None:
        assert cuda_graph

    def run(self, images: np.ndarray) -> Outputs:
        return Outputs(images.mean(axis=(1, 2)), images.mean(axis=(1, 2)), images.mean(axis=(1, 2, 3)))

    def describe(self) -> dict[str, Any]:
        return {"name": "tensorrt", "threads": None}

    def close(self) -> None: ...


def test_an_engine_is_fed_with_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case_module.trt, "Session", EngineSession)
    monkeypatch.setattr(case_module.trt, "load_tensorrt", object)
    opened = open_case(
        case_of(tmp_path / "a.engine", runtime="tensorrt", threads=None, settings=Settings(cuda_graph=True))
    )
    assert opened.inputs == (Input("image", "uint8", (1, 16, 16, 3)),)
    assert isinstance(opened.run({"image": colour_pixels(1)[0]}), Outputs)
