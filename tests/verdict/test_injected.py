"""Bad models put into a real bundle, measured by the real program: none of them ships."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import tiny_bundle
from onnx import helper, numpy_helper

from edgedistill.bundle.write import write_bundle
from edgedistill.export.reload import reload
from edgedistill.targets import run
from edgedistill.verdict.verdict import Candidate, Verdict
from edgedistill.verdict.verify import verify

Change = Callable[[onnx.ModelProto], None]


def slow(model: onnx.ModelProto) -> None:
    """The right answers, after much work that changes nothing of them."""
    wide = np.random.default_rng(0).normal(size=(800, 800)).astype(np.float32) / 30
    values = {"wide": wide, "none": np.zeros(1, np.float32), "axes": np.array([1], np.int64)}
    model.graph.initializer.extend(numpy_helper.from_array(value, f"slow_{name}") for name, value in values.items())
    (made,) = [node for node in model.graph.node if "known" in node.output]
    made.output[list(made.output).index("known")] = "slow_known"
    nodes = [helper.make_node("Mul", ["slow_wide", "slow_known"], ["slow_0"])]
    nodes += [helper.make_node("MatMul", [f"slow_{i}", "slow_wide"], [f"slow_{i + 1}"]) for i in range(6)]
    nodes += [
        helper.make_node("ReduceMax", ["slow_6"], ["slow_most"], keepdims=0),
        helper.make_node("Mul", ["slow_most", "slow_none"], ["slow_nothing"]),
        helper.make_node("Add", ["slow_known", "slow_nothing"], ["known"]),
    ]
    model.graph.node.extend(nodes)


def of_class_vectors(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    def changed(model: onnx.ModelProto) -> None:
        (stored,) = [item for item in model.graph.initializer if item.name == "class_vectors"]
        vectors = numpy_helper.to_array(stored)
        stored.CopyFrom(numpy_helper.from_array(change(vectors).astype(vectors.dtype), "class_vectors"))

    return changed


permuted = of_class_vectors(lambda vectors: np.roll(vectors, 1, axis=1))
not_a_number = of_class_vectors(lambda vectors: np.full_like(vectors, np.nan))
blind = of_class_vectors(np.zeros_like)


def verdict_on(folder: Path, **injected: Change) -> Verdict:
    """Of a bundle with the real fp32 graph, and such graphs in the place of others'."""
    _, exports = tiny_bundle.exported()
    (fp32,) = [model for model in exports.models if model.precision == "fp32"]
    models, answers = [fp32], {"fp32": exports.answers["fp32"]}
    (folder / "models").mkdir()
    for precision, change in injected.items():
        model = onnx.load(fp32.path)
        change(model)
        path = folder / "models" / f"{precision}.onnx"
        onnx.save(model, path)
        models.append(replace(fp32, precision=precision, path=path, bytes=path.stat().st_size))
        answers[precision] = reload(path, tiny_bundle.pixels(8))
    made = replace(exports, models=tuple(models), answers=answers, not_built={})
    bundle = write_bundle(folder / "bundle", tiny_bundle.parts(exports=made))
    run.main(["verify", "--bundle", str(bundle), "--threads", "1"])
    return verify(bundle, None, [bundle / "results"])


def row(verdict: Verdict, precision: str) -> Candidate:
    (found,) = [one for one in verdict.precision_candidates if one.precision == precision]
    return found


@pytest.mark.slow
def test_a_slow_int8_and_an_fp16_with_its_classes_permuted_leave_fp32_in_use(tmp_path: Path) -> None:
    verdict = verdict_on(tmp_path, fp16=permuted, int8=slow)
    assert (verdict.verdict, verdict.selected) == ("pass", "fp32")
    assert json.loads((tmp_path / "bundle" / "verdict.json").read_text())["selected"] == "fp32"
    assert row(verdict, "int8").kept_back == ("not-faster",)
    assert row(verdict, "int8").obstacle is None  # its answers are right: it is only slow
    fp16 = row(verdict, "fp16")
    assert "less-accurate" in fp16.kept_back
    assert fp16.obstacle is not None
    assert {"golden", "golden-head"} <= {flaw.code for flaw in fp16.obstacle.flaws}


def test_models_that_answer_nan_or_always_the_same_leave_fp32_in_use(tmp_path: Path) -> None:
    verdict = verdict_on(tmp_path, fp16=not_a_number, int8=blind)
    assert (verdict.verdict, verdict.selected) == ("pass", "fp32")
    for precision, code in (("fp16", "non-finite"), ("int8", "golden-head")):
        obstacle = row(verdict, precision).obstacle
        assert obstacle is not None
        assert code in {flaw.code for flaw in obstacle.flaws}
