"""ONNX graphs that are not ours, small: any inputs, or as much work as a test needs.

means(x=("float32", [1, 3]), ...)   the mean of each input: x -> mean_x
products(side, count)               that many products of square matrices
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Shape = list[Any]  # a string is a free axis


def means(**inputs: tuple[str, Shape]) -> onnx.ModelProto:
    """A graph that takes these inputs (numpy's dtype and shape) and gives each one's mean, float32 []."""
    nodes = []
    for name in inputs:
        nodes.append(helper.make_node("Cast", [name], [f"cast_{name}"], to=TensorProto.FLOAT))
        nodes.append(helper.make_node("ReduceMean", [f"cast_{name}"], [f"mean_{name}"], keepdims=0))
    takes = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
        for name, (dtype, shape) in inputs.items()
    ]
    gives = [helper.make_tensor_value_info(f"mean_{name}", TensorProto.FLOAT, []) for name in inputs]
    return _model(helper.make_graph(nodes, "means", takes, gives))


def products(side: int, count: int) -> onnx.ModelProto:
    """x, float32 [batch,side,side], multiplied `count` times by one matrix."""
    names = ["x", *(f"y{index}" for index in range(count))]
    nodes = [helper.make_node("MatMul", [before, "w"], [after]) for before, after in itertools.pairwise(names)]
    shape: Shape = ["batch", side, side]
    takes = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    gives = [helper.make_tensor_value_info(names[-1], TensorProto.FLOAT, shape)]
    weight = numpy_helper.from_array(np.eye(side, dtype=np.float32), "w")
    return _model(helper.make_graph(nodes, "products", takes, gives, [weight]))


def saved(path: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, path)
    return path


def _model(graph: onnx.GraphProto) -> onnx.ModelProto:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return model
