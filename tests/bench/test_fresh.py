"""A fresh process tells cold start and memory of one case alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tiny_graphs import means, saved

from edgedistill.bench.case import Case, open_case
from edgedistill.bench.fresh import measure_fresh
from edgedistill.bench.inputs import Given
from edgedistill.errors import InputError


def case_of(path: Path) -> Case:
    return Case(path.stem, path, "onnxruntime-cpu", 1, None, Given())


def heavy(megabytes: int) -> onnx.ModelProto:
    """A graph whose weight takes that much memory."""
    model = means(x=("float32", [1, 256]))
    weight = np.random.default_rng(0).random((256, megabytes << 10), np.float32)
    model.graph.node.append(helper.make_node("MatMul", ["cast_x", "w"], ["wide"]))
    model.graph.node.append(helper.make_node("ReduceMean", ["wide"], ["mean_wide"], keepdims=0))
    model.graph.initializer.append(numpy_helper.from_array(weight, "w"))
    model.graph.output.append(helper.make_tensor_value_info("mean_wide", onnx.TensorProto.FLOAT, []))
    return model


def test_a_models_weights_are_in_its_memory_and_in_no_others(tmp_path: Path) -> None:
    peaks = []
    for name, model in (("heavy", heavy(64)), ("light", means(x=("float32", ["n", 3])))):
        case = case_of(saved(tmp_path / f"{name}.onnx", model))
        found = measure_fresh(case, open_case(case).inputs, serve_s=0)
        assert found.load_ms > 0
        assert found.first_ms > 0
        assert found.memory_mb["kind"] == "rss_growth"
        peaks.append(found.memory_mb["peak"])
    assert peaks[0] > 60 > peaks[1]


def test_a_process_that_fails_is_told_with_its_own_words(tmp_path: Path) -> None:
    case = case_of(saved(tmp_path / "model.onnx", means(x=("float32", [1]))))
    inputs = open_case(case).inputs
    case.file.write_bytes(b"changed meanwhile")
    with pytest.raises(InputError, match=r"fresh process of model ended early: cannot load"):
        measure_fresh(case, inputs, serve_s=0)
