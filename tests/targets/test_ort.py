"""The onnxruntime session: right numbers for any count of images, clear words for any wrong file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import SIZE, colour_model, colour_pixels, expected_probabilities
from onnx import TensorProto, helper

from edgedistill.targets.errors import TargetError
from edgedistill.targets.ort import Session


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("batch", [1, 4, "batch"])
@pytest.mark.parametrize("count", [1, 4, 7, 70])
def test_any_count_of_images_gives_the_same_answers(tmp_path: Path, batch: int | str, count: int) -> None:
    session = Session(saved(tmp_path, colour_model(batch)), threads=1)
    pixels, classes = colour_pixels(count)
    outputs = session.run(pixels)
    assert outputs.probabilities.dtype == np.float32
    assert np.allclose(outputs.probabilities, expected_probabilities(pixels), atol=1e-5)
    assert (outputs.probabilities.argmax(axis=1) == classes).all()
    assert np.allclose(np.linalg.norm(outputs.embedding, axis=1), 1, atol=1e-4)
    assert np.array_equal(outputs.known, outputs.probabilities.max(axis=1))


@pytest.mark.parametrize("batch", [1, "batch"])
def test_no_images_give_no_answers(tmp_path: Path, batch: int | str) -> None:
    outputs = Session(saved(tmp_path, colour_model(batch)), threads=1).run(np.zeros((0, SIZE, SIZE, 3), np.uint8))
    assert [array.shape for array in outputs] == [(0, 3), (0, 3), (0,)]


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, SIZE, SIZE, 3), np.float32),
        np.zeros((SIZE, SIZE, 3), np.uint8),
        np.zeros((1, SIZE + 1, SIZE, 3), np.uint8),
        np.zeros((1, 3, SIZE, SIZE), np.uint8),
    ],
)
def test_other_arrays_are_refused_with_what_is_wanted(tmp_path: Path, images: np.ndarray) -> None:
    session = Session(saved(tmp_path, colour_model()), threads=1)
    with pytest.raises(TargetError, match=r"takes uint8 \[N, 16, 16, 3\], not"):
        session.run(images)


def test_it_says_what_it_is(tmp_path: Path) -> None:
    session = Session(saved(tmp_path, colour_model()), threads=2)
    session.warm_up(0)
    described = session.describe()
    assert (described["name"], described["provider"]) == ("onnxruntime-cpu", "CPUExecutionProvider")
    assert described["threads"] == 2
    session.close()
    session.close()


def test_zero_threads_mean_the_physical_cores(tmp_path: Path) -> None:
    assert 1 <= Session(saved(tmp_path, colour_model())).describe()["threads"] <= 8


def test_a_missing_provider_is_an_error_and_not_the_cpu(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="has no CUDAExecutionProvider; it has"):
        Session(saved(tmp_path, colour_model()), provider="onnxruntime-cuda")


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a model")
    for name in ("bad.onnx", "missing.onnx"):
        with pytest.raises(TargetError) as caught:
            Session(tmp_path / name)
        assert str(tmp_path / name) in caught.value.wrong


def test_a_graph_of_another_contract_is_refused(tmp_path: Path) -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "other",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    with pytest.raises(TargetError, match=r"takes x tensor\(float\)"):
        Session(saved(tmp_path, model))
    wrong_output = colour_model()
    del wrong_output.graph.output[2]
    with pytest.raises(TargetError, match="returns probabilities, embedding, not"):
        Session(saved(tmp_path, wrong_output))
