"""Student and class vectors -> one ONNX graph that an app in any language feeds with raw pixels.

    image uint8 [N, S, S, 3] RGB -> probabilities [N, C], embedding [N, D], known [N]   (all float32)

`probabilities = softmax(scale * embedding @ class_vectors + class_bias)`. The last three are named initialisers: a
class list can be edited with `onnx` alone. One file, static batch 1 or a free batch of 1..64, and everything in
`metadata_props` that the file needs to describe itself.

Three choices, each for a parser or a number format:
- The image is cast before it is transposed: TensorRT lets a uint8 input feed a Cast and nothing else.
- fp16 means backbone and projector; from the projected feature on, the graph is float32 in every precision, because
  half turns the epsilon of the normalisation into zero and overflows its sum of squares.
- BatchNorm is folded in float32 *before* anything becomes half: a running variance above 65504 would not survive.

Same student, same vectors, same facts: same bytes.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto, numpy_helper
from torch import Tensor, nn

from ..errors import EdgeDistillError
from ..targets.preprocess import RESIZE_RULE
from ..work.fold import fold_batch_norms

if TYPE_CHECKING:
    from ..distil.student import Student

MAX_BATCH = 64
OUTPUTS = ("probabilities", "embedding", "known")
IR_VERSION = 9  # what opset 18 needs, and read by every onnxruntime that we allow


@dataclass(frozen=True, kw_only=True)
class GraphSpec:
    """The form of a graph: pixels a side, one image at a time or a free batch, and the version of ONNX's operators."""

    size: int
    dynamic_batch: bool = False
    opset: int = 18


@dataclass(frozen=True, kw_only=True)
class GraphFacts:
    """What the file says about itself in `metadata_props`; every value but the two ids is JSON there."""

    labels: Sequence[str]
    teacher_id: str
    build_id: str

    def as_properties(self, size: int) -> dict[str, str]:
        return {
            "labels": json.dumps(list(self.labels), ensure_ascii=False),
            "preprocessing": json.dumps(preprocessing(size), sort_keys=True),
            "teacher": self.teacher_id,
            "build_id": self.build_id,
        }


def preprocessing(size: int) -> dict[str, Any]:
    """How a picture becomes the graph's input; stands in the manifest and in every graph."""
    return {"layout": "NHWC", "dtype": "uint8", "channels": "RGB", "size": size, "resize": RESIZE_RULE}


class BakedClassifier(nn.Module):
    """The student with its classes, made to be exported: uint8 [N, S, S, 3] -> probabilities, embedding, known.

    Takes its own copy of the student, BatchNorm folded, and changes nothing of the original. `half` puts backbone and
    projector in float16; input and outputs stay as they are.
    """

    class_vectors: Tensor
    class_bias: Tensor
    scale: Tensor

    def __init__(self, student: Student, class_vectors: np.ndarray, scale: float, *, size: int, half: bool) -> None:
        super().__init__()
        self.student = fold_batch_norms(student, torch.zeros(1, size, size, 3, dtype=torch.uint8))
        self.dtype = torch.float16 if half else torch.float32
        self.student.backbone.to(self.dtype)
        self.student.projector.to(self.dtype)
        vectors = torch.from_numpy(np.ascontiguousarray(np.asarray(class_vectors, np.float32).T))
        self.register_buffer("class_vectors", vectors)
        self.register_buffer("class_bias", torch.zeros(vectors.shape[1]))
        self.register_buffer("scale", torch.tensor(float(scale)))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pixels = self.student.normalise(image).to(self.dtype)
        projected = self.student.projector(self.student.backbone(pixels))
        embedding = F.normalize(projected.float(), dim=-1)
        logits = self.scale * (embedding @ self.class_vectors) + self.class_bias
        probabilities = logits.softmax(dim=-1)
        return probabilities, embedding, probabilities.amax(dim=-1)


def to_onnx(baked: BakedClassifier, spec: GraphSpec) -> onnx.ModelProto:
    """The module as a self-contained graph without a trace of the machine that made it."""
    example = torch.zeros(2 if spec.dynamic_batch else 1, spec.size, spec.size, 3, dtype=torch.uint8)
    batch = torch.export.Dim("batch", min=1, max=MAX_BATCH)
    with _recognisable_head(baked), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations inside torch.export that no user of ours can act on
        program = torch.onnx.export(
            baked.eval(),
            (example,),
            dynamo=True,
            opset_version=spec.opset,
            external_data=False,
            verbose=False,
            input_names=["image"],
            output_names=list(OUTPUTS),
            dynamic_shapes=({0: batch},) if spec.dynamic_batch else None,
        )
    assert program is not None  # for mypy: only dynamo=False returns None
    model = program.model_proto
    _strip_traces(model)
    _cast_image_first(model.graph)
    model.ir_version = min(model.ir_version, IR_VERSION)
    head = {"class_vectors": baked.class_vectors, "class_bias": baked.class_bias, "scale": baked.scale}
    for name, value in head.items():
        _set_initialiser(model, name, value.numpy())
    return model


@contextmanager
def _recognisable_head(baked: BakedClassifier) -> Iterator[None]:
    """Odd values for bias and scale while the exporter looks: its optimiser drops a bias of zeros, multiplies away a
    scale of one and merges equal constants, and then the names that 'edit the class list' relies on are gone."""
    bias, scale = baked.class_bias, baked.scale
    baked.class_bias = torch.linspace(1.25, 2.5, len(bias))
    baked.scale = torch.tensor(3.0625)
    try:
        yield
    finally:
        baked.class_bias, baked.scale = bias, scale


def _set_initialiser(model: onnx.ModelProto, name: str, value: np.ndarray) -> None:
    for initialiser in model.graph.initializer:
        if initialiser.name == name and list(initialiser.dims) == list(value.shape):
            initialiser.CopyFrom(numpy_helper.from_array(value, name))
            return
    raise EdgeDistillError(
        f"the exported graph has no initialiser {name!r} of shape {list(value.shape)}",
        f"This is a bug in the export with torch {torch.__version__}: please report it.",
    )


def _strip_traces(model: onnx.ModelProto) -> None:
    """Drop stack traces, which hold absolute paths, and every other note the exporter leaves; keep the computation.

    `value_info` goes too: it repeats what shape inference finds, and would be stale once a class is added.
    """
    graph = model.graph
    del model.metadata_props[:]
    del graph.value_info[:]
    model.doc_string = graph.doc_string = ""
    graph.name = "edgedistill"
    noted: list[Any] = [graph, *graph.node, *graph.input, *graph.output, *graph.initializer]
    for item in noted:
        item.doc_string = ""
        del item.metadata_props[:]


def _cast_image_first(graph: onnx.GraphProto) -> None:
    """With a free batch the exporter reads `Shape(image)`: let it read the shape of the cast image, the same."""
    cast = next(node for node in graph.node if node.op_type == "Cast" and "image" in node.input)
    others = [node for node in graph.node if node != cast]
    for node in others:
        if node.op_type == "Shape" and node.input[0] == "image":
            node.input[0] = cast.output[0]
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in (cast, *others)]
    del graph.node[:]
    graph.node.extend(nodes)


def check_graph(model: onnx.ModelProto, spec: GraphSpec) -> None:
    """Raise EdgeDistillError unless the graph is valid ONNX with the names, types and shapes of the contract."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise _off_contract(f"onnx refuses it: {error}") from error
    initialisers = {item.name: tuple(item.dims) for item in model.graph.initializer}
    dim, classes = initialisers["class_vectors"]
    batch: int | str = "batch" if spec.dynamic_batch else 1
    expected = {
        "image": (TensorProto.UINT8, [batch, spec.size, spec.size, 3]),
        "probabilities": (TensorProto.FLOAT, [batch, classes]),
        "embedding": (TensorProto.FLOAT, [batch, dim]),
        "known": (TensorProto.FLOAT, [batch]),
    }
    found = {}
    for value in [*model.graph.input, *model.graph.output]:
        tensor = value.type.tensor_type
        found[value.name] = (tensor.elem_type, [d.dim_param or d.dim_value for d in tensor.shape.dim])
    if found != expected:
        raise _off_contract(f"inputs and outputs are {found}, expected {expected}")
    readers = [node.op_type for node in model.graph.node if "image" in node.input]
    if readers != ["Cast"]:
        raise _off_contract(f"image feeds {readers}, TensorRT allows one Cast")
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer) or model.functions:
        raise _off_contract("weights or functions lie outside the graph")


def _off_contract(what: str) -> EdgeDistillError:
    return EdgeDistillError(
        f"the exported graph breaks the contract: {what}",
        f"This is a bug in the export with torch {torch.__version__}, onnx {onnx.__version__}: please report it.",
    )
