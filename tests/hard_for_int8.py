"""A small fp32 graph, written by hand, one layer of which int8 cannot hold.

`backbone.loud` gives one channel a thousand times louder than the others, and only the others are read: in int8 they
lie below one step of the tensor, so that nearly nothing of the image is left behind it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE, CLASSES = 8, 3


def images(count: int, seed: int = 0) -> np.ndarray:
    """uint8 [count,8,8,3] of noise, one channel brighter than the others in each."""
    drawn = np.random.default_rng(seed)
    made = drawn.integers(0, 150, (count, SIZE, SIZE, 3), np.uint8)
    made[np.arange(count), :, :, drawn.integers(0, 3, count)] += 60
    return made


def write(path: Path, *, loudness: float = 1000.0) -> Path:
    """The graph; with a `loudness` of 1 int8 holds it well."""
    weights = {
        "student.backbone.stem.weight": _pointwise(np.eye(3)),
        "student.backbone.loud.weight": _pointwise(np.concatenate([np.full((1, 3), loudness), np.eye(3)])),
        "student.backbone.reads.weight": _pointwise(np.concatenate([np.zeros((3, 1)), np.eye(3)], axis=1)),
        "student.backbone.last.weight": _pointwise(np.eye(3)),
        "student.projector.0.weight": np.eye(3),
        "class_vectors": 3 * np.eye(3) - 1,
        "class_bias": np.zeros(3),
        "scale": np.array(20.0),
    }
    nodes = [helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT)]
    nodes.append(helper.make_node("Transpose", ["pixels"], ["planes"], perm=[0, 3, 1, 2]))
    nodes.append(helper.make_node("Div", ["planes", "white"], ["x0"]))
    for index, layer in enumerate(("stem", "loud", "reads", "last")):
        nodes.append(helper.make_node("Conv", [f"x{index}", f"student.backbone.{layer}.weight"], [f"y{index}"]))
        nodes.append(helper.make_node("Relu", [f"y{index}"], [f"x{index + 1}"]))
    nodes += [
        helper.make_node("ReduceMean", ["x4", "spatial"], ["pooled"], keepdims=0),
        helper.make_node("Gemm", ["pooled", "student.projector.0.weight"], ["projected"]),
        helper.make_node("ReduceL2", ["projected", "last"], ["length"]),
        helper.make_node("Div", ["projected", "length"], ["embedding"]),
        helper.make_node("MatMul", ["embedding", "class_vectors"], ["cosines"]),
        helper.make_node("Mul", ["scale", "cosines"], ["scaled"]),
        helper.make_node("Add", ["scaled", "class_bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
        helper.make_node("ReduceMax", ["probabilities", "last"], ["known"], keepdims=0),
    ]
    for index, node in enumerate(nodes):
        node.name = f"{index}-{node.op_type}"
    stored = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in weights.items()]
    stored.append(numpy_helper.from_array(np.array(255.0, np.float32), "white"))
    stored.append(numpy_helper.from_array(np.array([2, 3]), "spatial"))
    stored.append(numpy_helper.from_array(np.array([-1]), "last"))
    graph = helper.make_graph(
        nodes,
        "edgedistill",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, SIZE, SIZE, 3])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, CLASSES]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, CLASSES]),
            helper.make_tensor_value_info("known", TensorProto.FLOAT, [1]),
        ],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, {"labels": '["a", "b", "c"]'})
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    return path


def _pointwise(matrix: np.ndarray) -> np.ndarray:
    return matrix[:, :, None, None]
