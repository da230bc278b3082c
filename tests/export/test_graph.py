"""The exported graph: what it promises to an app, to a parser and to whoever edits its classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from edgedistill.classes.class_vectors import ClassVectors
from edgedistill.classes.templates import Templates
from edgedistill.distil.student import Student
from edgedistill.errors import EdgeDistillError, InputError
from edgedistill.export.graph import OUTPUTS, BakedClassifier, GraphFacts, GraphSpec, check_graph
from edgedistill.export.models import ExportedModel, Exports, export_models, flaw_in, reload_all

SIZE, DIM, SCALE = 32, 16, 20.0
NAMES = ("bolt", "nut", "Scheibe ⌀8", "gear", "spring")


def classes() -> ClassVectors:
    drawn = np.random.default_rng(1).normal(size=(len(NAMES), DIM)).astype(np.float32)
    vectors = drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    templates = Templates("one", ("a photo of a {}.",))
    return ClassVectors(vectors, vectors, np.ones(1), "uniform", "none", SCALE, NAMES, templates)


def trained_student(name: str = "test_efficientnet") -> Student:
    """A small timm network whose BatchNorm statistics are not those of a fresh one."""
    torch.manual_seed(0)
    student = Student(name, DIM, size=SIZE)
    for norm in student.modules():
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            norm.running_mean.uniform_(-0.2, 0.2)
            norm.running_var.uniform_(0.5, 1.5)
    return student.train()  # as the training loop may leave it


SPEC = GraphSpec(size=SIZE)
FACTS = GraphFacts(labels=NAMES, teacher_id="local-dir:teacher", build_id="b" * 64)


def photos(count: int = 3) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def run(path: Path, images: np.ndarray) -> dict[str, np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {"image": images})))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Exports]:
    folder = tmp_path_factory.mktemp("models")
    return folder, export_models(
        trained_student(), classes(), folder, facts=FACTS, images=photos(), spec=SPEC, precisions=("fp16", "int8")
    )


def graph(folder: Path, precision: str = "fp32") -> onnx.ModelProto:
    return onnx.load(folder / f"{precision}.onnx")


def test_fp32_is_always_made_and_int8_is_named_as_not_built(exported: tuple[Path, Exports]) -> None:
    folder, exports = exported
    assert [model.precision for model in exports.models] == ["fp32", "fp16"]
    assert sorted(path.name for path in folder.iterdir()) == ["fp16.onnx", "fp32.onnx"]  # one file each, no .data
    assert list(exports.not_built) == ["int8"]


def test_the_graph_computes_what_torch_computes(exported: tuple[Path, Exports]) -> None:
    exports = exported[1]
    images = photos()
    student = trained_student().eval()
    with torch.no_grad():
        embedding = nn.functional.normalize(student(torch.from_numpy(images))[1], dim=-1).numpy()
    logits = SCALE * embedding @ classes().baked.T
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    for model, tolerance in zip(exports.models, (1e-5, 2e-2)):
        parts = [run(model.path, image[None]) for image in images]
        got = {name: np.concatenate([part[name] for part in parts]) for name in OUTPUTS}
        np.testing.assert_allclose(got["probabilities"], expected, atol=tolerance)
        np.testing.assert_allclose(got["embedding"], embedding, atol=tolerance)
        np.testing.assert_allclose(got["known"], got["probabilities"].max(1))
        np.testing.assert_allclose(got["probabilities"].sum(1), 1, atol=1e-6)
        np.testing.assert_allclose(np.linalg.norm(got["embedding"], axis=1), 1, atol=1e-5)
        assert model.max_abs_diff == pytest.approx(np.abs(got["probabilities"] - expected).max(), abs=2e-6, rel=0.06)
    np.testing.assert_allclose(exports.reference["probabilities"], expected, atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_inputs_and_outputs_are_the_contract(exported: tuple[Path, Exports], precision: str) -> None:
    session = onnxruntime.InferenceSession(str(exported[0] / f"{precision}.onnx"), providers=["CPUExecutionProvider"])
    declared = {io.name: (io.type, io.shape) for io in [*session.get_inputs(), *session.get_outputs()]}
    assert declared == {
        "image": ("tensor(uint8)", [1, SIZE, SIZE, 3]),
        "probabilities": ("tensor(float)", [1, len(NAMES)]),
        "embedding": ("tensor(float)", [1, DIM]),
        "known": ("tensor(float)", [1]),
    }


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_head_is_three_named_float32_initialisers(exported: tuple[Path, Exports], precision: str) -> None:
    stored = {item.name: numpy_helper.to_array(item) for item in graph(exported[0], precision).graph.initializer}
    np.testing.assert_array_equal(stored["class_vectors"], classes().baked.T)
    np.testing.assert_array_equal(stored["class_bias"], np.zeros(len(NAMES), np.float32))
    assert stored["scale"].shape == ()
    assert stored["scale"] == np.float32(SCALE)
    assert {stored[name].dtype for name in ("class_vectors", "class_bias", "scale")} == {np.dtype(np.float32)}


def test_a_class_can_be_removed_with_onnx_alone(exported: tuple[Path, Exports], tmp_path: Path) -> None:
    model = graph(exported[0])
    for item in model.graph.initializer:
        if item.name in ("class_vectors", "class_bias"):
            item.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(item)[..., 1:].copy(), item.name))
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value -= 1
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "edited.onnx")
    image = photos()[:1]
    before = run(exported[0] / "fp32.onnx", image)["probabilities"][:, 1:]
    after = run(tmp_path / "edited.onnx", image)["probabilities"]
    np.testing.assert_allclose(after, before / before.sum(1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_image_is_cast_before_anything_else_reads_it(exported: tuple[Path, Exports], precision: str) -> None:
    nodes = graph(exported[0], precision).graph.node
    assert [node.op_type for node in nodes if "image" in node.input] == ["Cast"]
    assert [node.op_type for node in nodes[:2]] == ["Cast", "Transpose"]


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_no_batch_norm_is_left(exported: tuple[Path, Exports], precision: str) -> None:
    kinds = {node.op_type for node in graph(exported[0], precision).graph.node}
    assert "BatchNormalization" not in kinds
    assert {"Conv", "Softmax"} <= kinds


def test_fp16_keeps_the_normalisation_in_float32(exported: tuple[Path, Exports]) -> None:
    model = onnx.shape_inference.infer_shapes(graph(exported[0], "fp16"))
    types = {value.name: value.type.tensor_type.elem_type for value in [*model.graph.value_info, *model.graph.output]}
    by_kind = {node.op_type: node for node in model.graph.node}
    for kind in ("ReduceL2", "Clip", "MatMul", "Softmax"):
        assert types[by_kind[kind].output[0]] == onnx.TensorProto.FLOAT, kind
    assert types[by_kind["Conv"].output[0]] == onnx.TensorProto.FLOAT16
    assert graph(exported[0], "fp16").ByteSize() < 0.6 * graph(exported[0]).ByteSize()


def test_the_file_describes_itself_and_nothing_of_the_machine(exported: tuple[Path, Exports]) -> None:
    properties = {prop.key: prop.value for prop in graph(exported[0]).metadata_props}
    assert json.loads(properties["labels"]) == list(NAMES)
    assert json.loads(properties["preprocessing"])["size"] == SIZE
    assert properties["teacher"] == "local-dir:teacher"
    assert properties["build_id"] == "b" * 64
    assert set(properties) == {"labels", "preprocessing", "teacher", "build_id"}
    for path in exported[0].iterdir():
        content = path.read_bytes()
        for trace in (b"site-packages", b".py", str(Path.home()).encode(), b"/tmp", b"stack_trace", b'File "'):
            assert trace not in content, (path.name, trace)


def test_the_oldest_supported_runtime_can_read_the_format(exported: tuple[Path, Exports]) -> None:
    model = graph(exported[0])
    assert model.ir_version == 9  # onnxruntime 1.17 reads up to 9
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 18)]


def test_the_same_student_gives_the_same_bytes(exported: tuple[Path, Exports], tmp_path: Path) -> None:
    again = export_models(
        trained_student(), classes(), tmp_path, facts=FACTS, images=photos(), spec=SPEC, precisions=("fp16", "int8")
    )
    for name in ("fp32.onnx", "fp16.onnx"):
        assert (tmp_path / name).read_bytes() == (exported[0] / name).read_bytes()
    assert [model.max_abs_diff for model in again.models] == [model.max_abs_diff for model in exported[1].models]


def test_exporting_leaves_the_student_as_it_was(tmp_path: Path) -> None:
    student = trained_student()
    before = {name: value.clone() for name, value in student.state_dict().items()}
    BakedClassifier(student, classes().baked, SCALE, size=SIZE, half=True)
    assert student.training
    assert all(torch.equal(value, before[name]) for name, value in student.state_dict().items())


def test_a_dynamic_batch_takes_one_image_or_many(tmp_path: Path) -> None:
    exports = export_models(
        trained_student(),
        classes(),
        tmp_path,
        facts=FACTS,
        images=photos(),
        spec=GraphSpec(size=SIZE, dynamic_batch=True),
        precisions=("fp32",),
    )
    path = exports.models[0].path
    images = photos(64)
    together = run(path, images)["probabilities"]
    alone = np.concatenate([run(path, image[None])["probabilities"] for image in images[:3]])
    assert together.shape == (64, len(NAMES))
    np.testing.assert_allclose(together[:3], alone, atol=1e-5)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", SIZE, SIZE, 3]


def test_a_half_graph_that_loses_the_answer_is_left_out_with_the_reason(tmp_path: Path) -> None:
    student = trained_student()
    with torch.no_grad():
        student.projector[0].weight.mul_(1e6)  # overflows half, harmless in float32
        student.projector[0].bias.mul_(1e6)
        student.projector[1].running_var.mul_(1e12)
        student.projector[1].running_mean.mul_(1e6)
        student.projector[3].weight.mul_(1e6)
        student.projector[3].bias.mul_(1e6)
    exports = export_models(
        student, classes(), tmp_path, facts=FACTS, images=photos(), spec=SPEC, precisions=("fp32", "fp16")
    )
    assert [model.precision for model in exports.models] == ["fp32"]
    assert "fp16" in exports.not_built
    assert not (tmp_path / "fp16.onnx").exists()


@pytest.mark.parametrize(("drift", "tolerance"), [(1e-4, 2e-2), (9e-3, 2e-2), (0.04, 0.08)])
def test_the_golden_tolerance_of_half_grows_with_its_drift(drift: float, tolerance: float) -> None:
    model = ExportedModel("fp16", Path("fp16.onnx"), 1, 1, 0.0, drift, 8)
    assert model.golden_tolerance == pytest.approx(tolerance)


@pytest.mark.parametrize(
    ("change", "flaw"),
    [
        (lambda out: out["probabilities"].__setitem__((0, 0), 0.2), "probabilities is 1.0e-01 away"),
        (lambda out: out["embedding"].__setitem__((2, 1), np.nan), "embedding is not finite in 1 of 9"),
        (lambda out: out["known"].__setitem__(1, 0.5), "known is 4.0e-01 away"),
        (lambda out: out["known"].__setitem__(2, 0.5), None),  # the last image is black: finite is all it must be
    ],
)
def test_a_flaw_is_named_with_its_size(change: Callable[[dict[str, np.ndarray]], None], flaw: str | None) -> None:
    expected = {name: np.full((3, 3) if name != "known" else 3, 0.1, np.float32) for name in OUTPUTS}
    got = {name: values.copy() for name, values in expected.items()}
    change(got)
    found = flaw_in(got, expected, 0.05, compared=2)
    assert found is None if flaw is None else found is not None and found.startswith(flaw)


def test_a_student_that_gives_nan_is_not_exported(tmp_path: Path) -> None:
    student = trained_student()
    with torch.no_grad():
        student.projector[3].weight[0, 0] = float("nan")
    with pytest.raises(EdgeDistillError, match="not finite"):
        export_models(student, classes(), tmp_path, facts=FACTS, images=photos(), spec=SPEC, precisions=("fp32",))


def test_labels_and_vectors_must_be_of_one_length(tmp_path: Path) -> None:
    facts = GraphFacts(labels=NAMES[:4], teacher_id="t", build_id="b")
    with pytest.raises(EdgeDistillError, match="5 class vectors for 4 labels"):
        export_models(trained_student(), classes(), tmp_path, facts=facts, images=photos(), spec=SPEC)


@pytest.mark.parametrize(
    "images",
    [photos().astype(np.float32), photos()[..., :2], photos()[:0], photos()[:, :16], photos()[0]],
)
def test_images_of_another_shape_or_type_are_refused(tmp_path: Path, images: np.ndarray) -> None:
    with pytest.raises(InputError, match="expected uint8"):
        export_models(trained_student(), classes(), tmp_path, facts=FACTS, images=images, spec=SPEC)


def test_a_graph_whose_image_feeds_a_transpose_breaks_the_contract(exported: tuple[Path, Exports]) -> None:
    model = graph(exported[0])
    model.graph.node[0].input[0] = "renamed"
    model.graph.input[0].name = "renamed"
    with pytest.raises(EdgeDistillError, match="contract"):
        check_graph(model, SPEC)


def test_a_graph_that_onnxruntime_refuses_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"no graph")
    with pytest.raises(EdgeDistillError, match="does not load in a fresh process"):
        reload_all([tmp_path / "broken.onnx"], photos())
