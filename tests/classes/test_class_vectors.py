"""Class vectors are the weighted sum of their prompts, saved byte for byte; close classes are named."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tiny_bank import make_bank
from tiny_images import CLASSES, make_photo

from edgedistill.classes.class_vectors import ClassVectors, class_vectors, close_pairs
from edgedistill.classes.prompt_weights import prompt_weights
from edgedistill.classes.templates import template_set
from edgedistill.classes.text_bank import TextBank, build_text_bank
from edgedistill.errors import InputError
from edgedistill.labels import Label, Labels


def test_weighted_logits_equal_the_logits_of_the_combined_vector(bank: TextBank, features: np.ndarray):
    weights = prompt_weights(bank, "zero-shot-pool", features)
    vectors = class_vectors(bank, weights, weighting="zero-shot-pool")
    logits = bank.scale * np.einsum("nd,cpd->ncp", features.astype(np.float64), bank.vectors)
    np.testing.assert_allclose(bank.scale * features @ vectors.text.T, logits @ weights, atol=1e-5)
    assert (np.linalg.norm(vectors.text, axis=1) <= 1).all()
    assert (vectors.weighting, vectors.scale) == ("zero-shot-pool", bank.scale)
    np.testing.assert_array_equal(vectors.baked, vectors.text)


def test_a_weighting_of_another_name_is_refused(bank: TextBank):
    with pytest.raises(ValueError, match="'best' is not one of"):
        class_vectors(bank, prompt_weights(bank, "uniform"), weighting="best")


def test_class_vectors_come_back_as_they_were_saved(bank: TextBank, tmp_path: Path):
    vectors = class_vectors(bank, prompt_weights(bank, "uniform"), weighting="uniform")
    vectors = dataclasses.replace(vectors, baked=vectors.text + 1)
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        vectors.save(folder)
    loaded = ClassVectors.load(tmp_path / "one")
    for field in dataclasses.fields(ClassVectors):
        np.testing.assert_array_equal(getattr(loaded, field.name), getattr(vectors, field.name))
    assert loaded.templates == bank.templates, "a class added later needs the templates"
    name = "class_vectors.safetensors"
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_damaged_class_vectors_are_named(bank: TextBank, tmp_path: Path):
    vectors = class_vectors(bank, prompt_weights(bank, "uniform"), weighting="uniform")
    dataclasses.replace(vectors, text=np.full_like(vectors.text, np.nan)).save(tmp_path)
    with pytest.raises(InputError, match=r"text has shape .* not finite"):
        ClassVectors.load(tmp_path)
    dataclasses.replace(vectors, names=("one",)).save(tmp_path)
    with pytest.raises(InputError, match="do not fit"):
        ClassVectors.load(tmp_path)


def test_close_classes_are_named_closest_first():
    angle = np.radians([0, 20, 30, 120])
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1)[:, None].astype(np.float32)
    close = close_pairs(class_vectors(make_bank(vectors, scale=20.0), np.ones(1), weighting="uniform"))
    assert [(one, other) for one, other, _ in close] == [("class 1", "class 2"), ("class 0", "class 1")]
    assert [gap for *_, gap in close] == pytest.approx([20 * (1 - np.cos(np.radians(a))) for a in (10, 20)], abs=1e-4)


def test_a_real_text_tower_tells_its_classes_apart_and_not_two_spellings(tiny_teacher):
    labels = Labels((*(Label(name) for name in CLASSES), Label("Red disc!")))
    bank = build_text_bank(tiny_teacher, labels, template_set("general"))
    vectors = class_vectors(bank, prompt_weights(bank, "uniform"), weighting="uniform")
    assert [(one, other) for one, other, _ in close_pairs(vectors)] == [("red disc", "Red disc!")]


def test_the_whole_way_names_unseen_photos(tiny_teacher):
    labels = Labels(tuple(Label(name) for name in CLASSES))
    bank = build_text_bank(tiny_teacher, labels, template_set("general"))
    photos = np.stack([tiny_teacher.centre(make_photo(name, 40 + i)) for i in range(6) for name in CLASSES])
    features = tiny_teacher.encode_images(photos)
    vectors = class_vectors(bank, prompt_weights(bank, "zero-shot-pool", features), weighting="zero-shot-pool")
    assert np.mean((features @ vectors.text.T).argmax(axis=1) == np.tile(np.arange(len(CLASSES)), 6)) > 0.9
