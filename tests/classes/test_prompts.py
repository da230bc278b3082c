"""Templates, the text bank and class vectors: read once, weighed without labels, saved byte for byte."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_images import CLASSES, make_photo

from edgedistill.classes.prompts import (
    WEIGHTINGS,
    ClassVectors,
    Templates,
    TextBank,
    build_text_bank,
    class_vectors,
    close_pairs,
    prompt_weights,
    template_set,
)
from edgedistill.errors import InputError
from edgedistill.labels import Label, Labels


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def make_bank(vectors: np.ndarray, scale: float = 20.0) -> TextBank:
    classes, prompts, _ = vectors.shape
    return TextBank(
        vectors=vectors,
        scale=scale,
        names=tuple(f"class {c}" for c in range(classes)),
        prompts=tuple(tuple(f"{p} class {c}" for p in range(prompts)) for c in range(classes)),
        templates=Templates("test", tuple(f"{p} {{}}" for p in range(prompts))),
        teacher_id="local-dir:test",
        teacher_hash="0" * 64,
    )


@pytest.fixture
def bank() -> TextBank:
    return make_bank(unit(np.random.default_rng(0).normal(size=(3, 5, 16))).astype(np.float32))


@pytest.fixture
def features() -> np.ndarray:
    random = np.random.default_rng(1)
    return unit(random.normal(size=(40, 16)) + random.normal(size=16)).astype(np.float32)


# --- templates


@pytest.mark.parametrize(("name", "count"), [("general", range(7, 13)), ("imagenet", (80,)), ("cifar", (18,))])
def test_each_set_has_its_size_and_one_place_a_template(name: str, count):
    templates = template_set(name).templates
    assert len(templates) in count
    assert len(set(templates)) == len(templates)
    assert all(template.count("{}") == 1 for template in templates)


def test_the_published_sets_are_the_published_ones():
    assert {"a photo of a {}.", "a low contrast photo of the {}.", "a photo of the big {}."} <= set(
        template_set("cifar").templates
    )
    assert template_set("imagenet").templates[:2] == ("a bad photo of a {}.", "a photo of many {}.")


def test_a_file_of_templates(tmp_path: Path):
    path = tmp_path / "mine.txt"
    path.write_text("\ufeff# camera\r\n\r\na thermal image of a {}.\r\n{} {weird} braces\r\n", encoding="utf-8")
    assert template_set(str(path)) == Templates("mine.txt", ("a thermal image of a {}.", "{} {weird} braces"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a {}\nno place\n", "line 2: 'no place' has 0 places"),
        (b"a {} and a {}\n", "line 1: .* has 2 places"),
        (b"a {}\n# x\na {}\n", "line 3: the same as line 1"),
        (b"# nothing\n", "are empty"),
        (b"a {} \xff\n", "not UTF-8"),
    ],
)
def test_a_mistake_in_a_template_file_is_named(tmp_path: Path, text: bytes, message: str):
    (tmp_path / "mine.txt").write_bytes(text)
    with pytest.raises(InputError, match=message):
        template_set(tmp_path / "mine.txt")


def test_an_unknown_set_is_answered_with_a_near_one():
    with pytest.raises(InputError, match="did you mean imagenet"):
        template_set("imagnet")


# --- the bank


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


# --- prompt weights


def slow_scores(bank: TextBank, features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """mean_i max_c (z_icp − s·ref·T_cp), one number at a time."""
    scores = []
    for p in range(bank.vectors.shape[1]):
        best = []
        for u in features.astype(np.float64):
            debiased = [
                bank.scale * float(np.dot(u, t[p].astype(np.float64)))
                - bank.scale * float(np.dot(reference, t[p].astype(np.float64)))
                for t in bank.vectors
            ]
            best.append(max(debiased))
        scores.append(sum(best) / len(best))
    return np.array(scores)


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def test_w1_counts_all_prompts_alike(bank: TextBank):
    np.testing.assert_array_equal(prompt_weights(bank, "W1"), np.full(5, 0.2))


def test_w3_against_its_definition(bank: TextBank, features: np.ndarray):
    broad = np.linspace(-0.3, 0.3, 16).astype(np.float32)
    pool = features.mean(axis=0, dtype=np.float64)
    expected = {"W3": (pool + broad) / 2, "W3-pool": pool}
    for weighting, reference in expected.items():
        weights = prompt_weights(bank, weighting, features, broad)
        np.testing.assert_allclose(weights, softmax(slow_scores(bank, features, reference)), rtol=1e-9)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_weights_sum_to_one_and_follow_the_prompts(bank: TextBank, features: np.ndarray, weighting: str):
    broad = np.linspace(-0.3, 0.3, 16)
    weights = prompt_weights(bank, weighting, features, broad)
    assert weights.sum() == pytest.approx(1)
    order = np.random.default_rng(2).permutation(5)
    np.testing.assert_allclose(
        prompt_weights(dataclasses.replace(bank, vectors=bank.vectors[:, order]), weighting, features, broad),
        weights[order],
        rtol=1e-9,
    )
    shuffled = np.random.default_rng(3).permutation(len(features))
    np.testing.assert_allclose(prompt_weights(bank, weighting, features[shuffled], broad), weights, rtol=1e-9)


def test_a_frequent_word_in_a_prompt_earns_it_nothing(bank: TextBank, features: np.ndarray):
    """One vector added to all classes of a prompt: its score stays to 1e-10 when debiased, and jumps when not."""
    vectors = bank.vectors.astype(np.float64)
    frequent = vectors.copy()
    frequent[:, 2] += 0.5 * unit(features.mean(axis=0, dtype=np.float64))
    before = prompt_weights(make_bank(vectors), "W3-pool", features)
    after = prompt_weights(make_bank(frequent), "W3-pool", features)
    np.testing.assert_allclose(np.log(after / before), 0, atol=1e-10)
    nothing = np.zeros(16)
    raw = [slow_scores(make_bank(v), features, nothing)[2] for v in (vectors, frequent)]
    assert raw[1] - raw[0] > 1


def test_a_pool_read_from_disk_in_pieces_gives_the_same_weights(bank, features, tmp_path: Path, monkeypatch):
    import edgedistill.classes.prompts

    np.save(tmp_path / "features.npy", features)
    expected = prompt_weights(bank, "W3-pool", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    np.testing.assert_array_equal(prompt_weights(bank, "W3-pool", mapped), expected)
    monkeypatch.setattr(edgedistill.classes.prompts, "_SCORED", 300)  # 40 images x 15 prompts: every second image
    sampled = prompt_weights(bank, "W3-pool", features)
    reference = features.mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(sampled, softmax(slow_scores(bank, features[::2], reference)), rtol=1e-9)


def test_a_pool_is_never_asked_for_whole(bank, features, monkeypatch):
    import edgedistill.classes.prompts

    asked = []

    class OnDisk:
        def __len__(self):
            return len(features)

        def __getitem__(self, part):
            asked.append(len(features[part]))
            return features[part]

    expected = prompt_weights(bank, "W3-pool", features)
    monkeypatch.setattr(edgedistill.classes.prompts, "_ROWS_A_PIECE", 7)  # of 40 images
    np.testing.assert_allclose(prompt_weights(bank, "W3-pool", OnDisk()), expected, rtol=1e-12)
    assert max(asked) == 7


def test_weights_that_need_something_ask_for_it(bank: TextBank, features: np.ndarray):
    with pytest.raises(ValueError, match="needs its features"):
        prompt_weights(bank, "W3-pool")
    with pytest.raises(ValueError, match="mean feature"):
        prompt_weights(bank, "W3", features)
    with pytest.raises(ValueError, match="not one of"):
        prompt_weights(bank, "W9", features)


# --- class vectors


def test_weighted_logits_equal_the_logits_of_the_combined_vector(bank: TextBank, features: np.ndarray):
    weights = prompt_weights(bank, "W3-pool", features)
    vectors = class_vectors(bank, weights, weighting="W3-pool")
    logits = bank.scale * np.einsum("nd,cpd->ncp", features.astype(np.float64), bank.vectors)
    np.testing.assert_allclose(bank.scale * features @ vectors.text.T, logits @ weights, atol=1e-5)
    assert (np.linalg.norm(vectors.text, axis=1) <= 1).all()
    assert (vectors.weighting, vectors.normalised, vectors.scale) == ("W3-pool", False, bank.scale)
    np.testing.assert_array_equal(vectors.baked, vectors.text)


def test_normalising_keeps_directions(bank: TextBank):
    plain = class_vectors(bank, np.full(5, 0.2), weighting="W1")
    normalised = class_vectors(bank, np.full(5, 0.2), weighting="W1", normalise=True)
    assert normalised.normalised
    np.testing.assert_allclose(normalised.text, unit(plain.text), atol=1e-6)


def test_class_vectors_come_back_as_they_were_saved(bank: TextBank, tmp_path: Path):
    vectors = class_vectors(bank, prompt_weights(bank, "W1"), weighting="W1")
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
    vectors = class_vectors(bank, prompt_weights(bank, "W1"), weighting="W1")
    dataclasses.replace(vectors, text=np.full_like(vectors.text, np.nan)).save(tmp_path)
    with pytest.raises(InputError, match=r"text has shape .* not finite"):
        ClassVectors.load(tmp_path)
    dataclasses.replace(vectors, names=("one",)).save(tmp_path)
    with pytest.raises(InputError, match="do not fit"):
        ClassVectors.load(tmp_path)


# --- close pairs


def test_close_classes_are_named_closest_first():
    angle = np.radians([0, 20, 30, 120])
    vectors = np.stack([np.cos(angle), np.sin(angle)], axis=1)[:, None].astype(np.float32)
    close = close_pairs(class_vectors(make_bank(vectors, scale=20.0), np.ones(1), weighting="W1"))
    assert [(one, other) for one, other, _ in close] == [("class 1", "class 2"), ("class 0", "class 1")]
    assert [gap for *_, gap in close] == pytest.approx([20 * (1 - np.cos(np.radians(a))) for a in (10, 20)], abs=1e-4)


def test_a_real_text_tower_tells_its_classes_apart_and_not_two_spellings(tiny_teacher):
    labels = Labels((*(Label(name) for name in CLASSES), Label("Red disc!")))
    bank = build_text_bank(tiny_teacher, labels, template_set("general"))
    vectors = class_vectors(bank, prompt_weights(bank, "W1"), weighting="W1")
    assert [(one, other) for one, other, _ in close_pairs(vectors)] == [("red disc", "Red disc!")]


def test_the_whole_way_names_unseen_photos(tiny_teacher):
    labels = Labels(tuple(Label(name) for name in CLASSES))
    bank = build_text_bank(tiny_teacher, labels, template_set("general"))
    photos = np.stack([tiny_teacher.centre(make_photo(name, 40 + i)) for i in range(6) for name in CLASSES])
    features = tiny_teacher.encode_images(photos)
    vectors = class_vectors(bank, prompt_weights(bank, "W3-pool", features), weighting="W3-pool")
    assert np.mean((features @ vectors.text.T).argmax(axis=1) == np.tile(np.arange(len(CLASSES)), 6)) > 0.9
