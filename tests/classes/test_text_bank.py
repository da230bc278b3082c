"""The bank is what the text tower says, whatever the passes; saved byte for byte."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_bank import unit
from tiny_images import CLASSES

from edgedistill.classes.templates import Templates, template_set
from edgedistill.classes.text_bank import TextBank, build_text_bank
from edgedistill.errors import InputError
from edgedistill.labels import Label, Labels


def test_the_bank_holds_the_unit_mean_of_the_synonyms_of_every_prompt(tiny_teacher):
    labels = Labels((Label("red disc", ("red_dot", "scarlet disc")), Label("blue bars")))
    bank = build_text_bank(tiny_teacher, labels, Templates("two", ("a {}", "{} here")))
    assert bank.prompts == (
        ("a red disc", "a red dot", "a scarlet disc", "red disc here", "red dot here", "scarlet disc here"),
        ("a blue bars", "blue bars here"),
    )
    words = tiny_teacher.encode_text(bank.prompts[0]).astype(np.float64)
    np.testing.assert_allclose(bank.vectors[0], unit(np.stack([words[:3].mean(0), words[3:].mean(0)])), atol=1e-5)
    np.testing.assert_allclose(bank.vectors[1], tiny_teacher.encode_text(bank.prompts[1]), atol=1e-5)
    assert bank.vectors.dtype == np.float32
    assert bank.scale == tiny_teacher.scale
    assert (bank.teacher_id, bank.teacher_hash) == (tiny_teacher.id, tiny_teacher.files.weight_hash)


def test_the_bank_does_not_depend_on_how_texts_fall_into_passes(tiny_teacher):
    labels = Labels(tuple(Label(name) for name in CLASSES))
    bank = build_text_bank(tiny_teacher, labels, template_set("cifar"))  # 144 texts, three passes
    alone = tiny_teacher.encode_text([bank.prompts[7][17]])[0]
    np.testing.assert_allclose(bank.vectors[7, 17], alone, atol=1e-5)


def test_the_bank_comes_back_as_it_was_saved(bank: TextBank, tmp_path: Path):
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        bank.save(folder)
    loaded = TextBank.load(tmp_path / "one")
    np.testing.assert_array_equal(loaded.vectors, bank.vectors)
    assert dataclasses.replace(loaded, vectors=0).__dict__ == dataclasses.replace(bank, vectors=0).__dict__
    for name in ("bank.safetensors", "bank.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_damaged_bank_is_named(bank: TextBank, tmp_path: Path):
    bank.save(tmp_path)
    description = json.loads((tmp_path / "bank.json").read_text())
    (tmp_path / "bank.json").write_text(json.dumps({**description, "names": ["only one"]}))
    with pytest.raises(InputError, match="do not fit"):
        TextBank.load(tmp_path)
    (tmp_path / "bank.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(InputError, match="damaged"):
        TextBank.load(tmp_path)
