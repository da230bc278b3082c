"""The card says what the model is, takes and gives, and on which terms; it holds no figure of a measurement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import tiny_bundle
from tiny_images import FOUR_CLASSES

from edgedistill.bundle.model_card import model_card
from edgedistill.bundle.write import write_bundle
from edgedistill.labels import Label, Labels


def row(card: str, first: str) -> list[str]:
    """The cells of the table row that starts with `first`."""
    line = next(line for line in card.splitlines() if line.startswith(f"| {first} |"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def shape(value: onnx.ValueInfoProto) -> str:
    dims = [str(dim.dim_value) for dim in value.type.tensor_type.shape.dim]
    return f"[{', '.join(['N', *dims[1:]])}]"


def test_classes_stand_in_the_order_of_the_outputs_with_their_synonyms() -> None:
    listed = [line for line in model_card(tiny_bundle.parts()).splitlines() if line.endswith(")") and "(a " in line]
    assert listed == [f"- {name} (a {name})" for name in FOUR_CLASSES]


def test_shapes_are_those_of_the_graph(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", tiny_bundle.parts())
    card = (bundle / "MODEL_CARD.md").read_text()
    graph = onnx.load(bundle / "models" / "fp32.onnx").graph
    for value, kind in [(graph.input[0], "uint8"), *((output, "float32") for output in graph.output)]:
        assert f"- `{value.name}`: {kind} {shape(value)}" in card


def test_both_weights_are_named_with_their_terms() -> None:
    content = tiny_bundle.parts()
    content = replace(content, student=replace(content.student, weights="hub", licence="Apache-2.0"))
    card = model_card(content)
    assert row(card, "teacher")[1:] == [f"local-dir:teacher (SHA-256 {'c' * 64})", "MIT"]
    assert row(card, "student")[1:] == ["test_efficientnet: hub", "Apache-2.0"]


def test_every_model_has_its_row_and_what_was_not_built_its_reason() -> None:
    content = tiny_bundle.parts()
    card = model_card(replace(content, exports=replace(content.exports, not_built={"int8": "no instructions for it"})))
    for model in content.exports.models:
        assert row(card, f"models/{model.precision}.onnx")[1] == f"{model.bytes / 1e6:.1f} MB"
    assert "Not built: int8 (no instructions for it)." in card


def test_whether_accuracy_can_be_known_depends_on_true_labels() -> None:
    content = tiny_bundle.parts(60)
    assert "On 60 images that took no part in training (pool split); none has a true label" in model_card(content)
    labels = np.where(np.arange(60) < 25, 0, -1)
    assert "25 of them have a true label" in model_card(replace(content, check=replace(content.check, labels=labels)))


def test_the_same_content_gives_the_same_card() -> None:
    card = model_card(tiny_bundle.parts())
    assert model_card(tiny_bundle.parts()) == card
    assert model_card(tiny_bundle.parts(board=tiny_bundle.profile("jetson-orin"))) != card


def test_names_from_outside_are_no_markup() -> None:
    content = tiny_bundle.parts()
    labels = Labels((Label("a|b", ("<img src=x>",)), Label("[c](http://d)")))
    card = model_card(replace(content, labels=labels, teacher=replace(content.teacher, id="x|y\n# z", licence="`MIT`")))
    assert r"- a\|b (&lt;img src=x&gt;)" in card
    assert r"- \[c\](http://d)" in card
    assert r"| teacher | x\|y\\x0a\# z (SHA-256" in card
    assert r"| \`MIT\` |" in card
