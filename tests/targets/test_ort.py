"""The onnxruntime session: right numbers for any count of images, clear words for any wrong file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from bundles import SIZE, colour_model, colour_pixels, expected_probabilities
from onnx import TensorProto, helper, numpy_helper

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


def answering(shapes: dict[str, list[Any]], answers: dict[str, np.ndarray]) -> onnx.ModelProto:
    """A graph that gives these answers to any image, and declares such shapes."""
    nodes = [helper.make_node("Identity", [f"own_{name}"], [name]) for name in answers]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, SIZE, SIZE, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        [numpy_helper.from_array(value.astype(np.float32), f"own_{name}") for name, value in answers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("probabilities", np.ones(3)),
        ("probabilities", np.ones((1, 0))),
        ("embedding", np.ones((1, 3, 1))),
        ("known", np.array(1.0)),
        ("known", np.ones((1, 2))),
    ],
)
def test_a_graph_whose_outputs_have_another_rank_is_refused(tmp_path: Path, name: str, value: np.ndarray) -> None:
    answers = {"probabilities": np.ones((1, 3)), "embedding": np.ones((1, 3)), "known": np.ones(1)} | {name: value}
    model = answering({key: list(array.shape) for key, array in answers.items()}, answers)
    with pytest.raises(TargetError, match=r"not \[N,C\], \[N,D\] and \[N\]"):
        Session(saved(tmp_path, model), threads=1)


def as_told(width: int | str) -> onnx.ModelProto:
    """One that says it has `width` probabilities, and has as many as the first pixel's green."""
    answers = {"probabilities": np.ones((1, 3)), "embedding": np.ones((1, 3)), "known": np.ones(1)}
    model = answering({"probabilities": [1, width], "embedding": [1, 3], "known": [1]}, answers)
    del model.graph.node[0]
    for name, value in {"first": [0, 0, 0, 0], "last": [1, 1, 1, 2], "flat": [2]}.items():
        model.graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
    model.graph.node.extend(
        [
            helper.make_node("Slice", ["image", "first", "last"], ["pixel"]),
            helper.make_node("Reshape", ["pixel", "flat"], ["two"]),
            helper.make_node("Cast", ["two"], ["shape"], to=TensorProto.INT64),
            helper.make_node("ConstantOfShape", ["shape"], ["probabilities"]),
        ]
    )
    return model


def test_a_graph_of_unknown_widths_or_of_a_huge_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"not \[N,C\], \[N,D\] and \[N\]"):
        Session(saved(tmp_path, as_told("any")), threads=1)
    with pytest.raises(TargetError, match="at most 1024 images"):
        Session(saved(tmp_path, colour_model(100_000)), threads=1)


def test_a_graph_that_gives_other_shapes_than_it_declares_is_an_error(tmp_path: Path) -> None:
    session = Session(saved(tmp_path, as_told(3)), threads=1)
    pixels = np.ones((1, SIZE, SIZE, 3), np.uint8)
    pixels[..., 1] = 3
    assert session.run(pixels).probabilities.shape == (1, 3)
    pixels[..., 1] = 5
    with pytest.raises(TargetError, match=r"answers 1 images with \[1, 5\], \[1, 3\], \[1\] as .*, not \[1, 3\]"):
        session.run(pixels)
