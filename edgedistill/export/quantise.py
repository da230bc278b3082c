"""fp32 graph -> int8 graph: the same nodes, with QuantizeLinear / DequantizeLinear around those of the backbone.

onnxruntime's quantiser writes them (onnxruntime.quantization, `QDQQuantizer`). Projection and head stay as they are in
every precision. No single file serves every runtime, so there are two dialects: onnxruntime's CPU kernels want uint8
activations with a zero point and an int32 bias, which OpenVINO reads as well, and TensorRT's parser refuses both
("Non-zero zero point is not supported"; "input has type Int32 but must have type FP8, FP4, Int4, Int8, or UInt8").
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.quantization import QDQQuantizer, QuantType, TensorsData

from ..targets.names import ON_CPU

WEIGHTED = ("Conv", "Gemm", "MatMul")  # operators with weights: a layer


@dataclass(frozen=True, kw_only=True)
class Dialect:
    """How int8 is written for one kind of runtime. `operators`: the types of node that compute in int8.

    Where a tensor goes from one such node to the next, it stays int8; around any other it is made float and back.
    """

    name: str
    activations: QuantType
    symmetric: bool
    operators: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


ONNXRUNTIME = Dialect(
    name="onnxruntime",
    activations=QuantType.QUInt8,
    symmetric=False,
    operators=(*WEIGHTED, "Relu", "Clip", "Add", "MaxPool", "AveragePool"),
)
TENSORRT = Dialect(
    name="tensorrt",
    activations=QuantType.QInt8,
    symmetric=True,
    # Pooling and activations follow the precision of their input there; of an addition both inputs have to be int8.
    operators=(*WEIGHTED, "Add", "MaxPool"),
    options={
        "ActivationSymmetric": True,
        "WeightSymmetric": True,
        "QuantizeBias": False,
        "QDQKeepRemovableActivations": True,
        "OpTypesToExcludeOutputQuantization": [*WEIGHTED, "Add"],
    },
)


def dialect_for(runtimes: Sequence[str]) -> Dialect:
    """The dialect that all of a board's runtimes read: a bundle holds one int8 file.

    TensorRT's is plain ONNX that every onnxruntime runs, too, if slowly; onnxruntime's is for processors alone.
    """
    return ONNXRUNTIME if set(runtimes) <= set(ON_CPU) else TENSORRT


def quantisable(model: onnx.ModelProto, dialect: Dialect) -> list[str]:
    """The names of the nodes that become int8 in this dialect: of the backbone, in the graph's order.

    Not the addition of a constant (the 1 inside GELU): of an addition int8 helps where two activations meet, and
    TensorRT refuses the constant in int8 ("Quantized constant is only allowed before DQ").
    """
    constants = {item.name for item in model.graph.initializer}
    constants |= {name for node in model.graph.node if node.op_type == "Constant" for name in node.output}
    return [
        node.name
        for node in _backbone(model)
        if node.op_type in dialect.operators and not (node.op_type == "Add" and constants.intersection(node.input))
    ]


def layers(model: onnx.ModelProto, names: Collection[str]) -> list[str]:
    """Those of these nodes that have weights."""
    return [node.name for node in model.graph.node if node.name in names and node.op_type in WEIGHTED]


def weights_of(model: onnx.ModelProto, names: Collection[str]) -> list[str]:
    """What a person calls these layers: their weight's name, less what all have in common."""
    found = [node.input[1] for node in model.graph.node if node.name in names and len(node.input) > 1]
    return [name.removeprefix(BACKBONE).removesuffix(".weight") for name in found]


def quantised(
    model: onnx.ModelProto, ranges: TensorsData, dialect: Dialect, *, floating: Collection[str] = ()
) -> onnx.ModelProto:
    """A copy of the fp32 `model` in int8; nodes named in `floating` stay as they are.

    Weights are int8 per output channel, symmetric; a bias is int32 or stays float, as the dialect has it.
    """
    names = [name for name in quantisable(model, dialect) if name not in floating]
    with _quiet():
        quantizer = QDQQuantizer(
            onnx.shape_inference.infer_shapes(copy.deepcopy(model)),
            True,  # a scale for each output channel of a weight
            False,  # the whole range of 8 bits
            QuantType.QInt8,
            dialect.activations,
            ranges,
            names,
            [node.name for node in model.graph.node if node.name not in names],
            list(dialect.operators),
            dict(dialect.options),
        )
        quantizer.quantize_model()
        quantizer.model.topological_sort()
    made: onnx.ModelProto = quantizer.model.model
    del made.graph.value_info[:]
    del made.metadata_props[:]  # the quantiser adds notes of its own
    made.metadata_props.extend(model.metadata_props)
    made.producer_name, made.producer_version = model.producer_name, model.producer_version
    _drop_unused_domains(made)
    return made


def save(model: onnx.ModelProto, path: Path) -> None:
    path.write_bytes(model.SerializeToString(deterministic=True))


BACKBONE, PROJECTOR = "student.backbone.", "student.projector."


def _backbone(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """The nodes from the first with a weight of the backbone to the last that no projector's weight has entered."""
    begun = False
    behind: set[str] = {item.name for item in model.graph.initializer if item.name.startswith(PROJECTOR)}
    for node in model.graph.node:  # a graph's nodes stand in the order of computation
        begun = begun or any(name.startswith(BACKBONE) for name in node.input)
        if behind.intersection(node.input):
            behind.update(node.output)
        elif begun:
            yield node


def _drop_unused_domains(model: onnx.ModelProto) -> None:
    """The quantiser declares onnxruntime's own operators, whether it used one or not; TensorRT need not know them."""
    used = {node.domain or "" for node in model.graph.node}
    kept = [item for item in model.opset_import if (item.domain or "") in used | {""}]
    del model.opset_import[:]
    model.opset_import.extend(kept)


@contextmanager
def _quiet() -> Iterator[None]:
    """The quantiser talks to the root logger about what a caller of ours cannot act on."""
    root = logging.getLogger()
    was = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(was)
