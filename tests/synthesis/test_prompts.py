"""Eleven ways to write prompts: what holds for all of them, on a teacher that reads."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edgedistill.errors import InputError
from edgedistill.synthesis.candidates import Subject
from edgedistill.synthesis.contrastive import LearnedStyles, OrthogonalStyles, StylesInTurn
from edgedistill.synthesis.diversity import mean_pairwise_cosine
from edgedistill.synthesis.prompts import WAYS, Prompts, diversified

COUNT = 12


def written(way: str, subject: Subject, seed: int = 0) -> Prompts:
    return diversified(way, COUNT, subject.bank, subject.teacher, subject.labels, seed)


@pytest.fixture(scope="module", autouse=True)
def quick_styles() -> Iterator[None]:
    """Eight styles in forty steps where a build learns 32 in 500."""
    with pytest.MonkeyPatch.context() as patch:
        for way in (LearnedStyles, OrthogonalStyles, StylesInTurn):
            quick = dataclasses.replace(way.recipe, styles=8, classes=2, steps=40, lr=0.01)
            patch.setattr(way, "recipe", quick)
        yield


@pytest.fixture(scope="module")
def every(shapes: Subject) -> dict[str, Prompts]:
    return {way: written(way, shapes) for way in WAYS}


@pytest.mark.parametrize("way", WAYS)
def test_every_class_has_as_many_prompts_that_the_teacher_takes_for_it(way: str, every, shapes: Subject) -> None:
    prompts = every[way]
    assert np.bincount(prompts.classes).tolist() == [COUNT] * len(shapes.labels)
    assert (prompts.classes.dtype, prompts.targets.dtype, prompts.shares.dtype) == (np.int64, np.float32, np.float32)
    assert np.allclose(np.linalg.norm(prompts.targets, axis=1), 1, atol=1e-6)
    assert np.allclose(prompts.shares.sum(axis=1), 1, atol=1e-6)
    assert (prompts.shares.argmax(axis=1) == prompts.classes).all()
    assert ((prompts.targets @ shapes.vectors.T).argmax(axis=1) == prompts.classes).all()
    assert len(prompts.texts) == len(prompts.style) == COUNT * len(shapes.labels)
    assert all(text for text in prompts.texts)


@pytest.mark.parametrize("way", [way for way in WAYS if way != "plain"])
def test_diversified_prompts_lie_farther_apart_than_plain_ones(way: str, parts: Subject) -> None:
    """Under the example's teacher: the tiny one was trained to see past every context."""
    plain, other = (written(name, parts) for name in ("plain", way))
    assert mean_pairwise_cosine(other.targets, other.classes) < mean_pairwise_cosine(plain.targets, plain.classes)
    assert all(other.style)


@pytest.mark.parametrize("way", ["mix", "random", "contrastive"])
def test_the_seed_decides(way: str, every, shapes: Subject) -> None:
    again, other = written(way, shapes), written(way, shapes, seed=1)
    assert again.texts == every[way].texts
    assert (again.targets == every[way].targets).all()
    assert not (other.targets == again.targets).all()


def test_words_that_a_pipeline_gets_are_those_that_the_teacher_read(every, shapes: Subject) -> None:
    with_words = {way for way, prompts in every.items() if prompts.has_words}
    assert with_words == {"plain", "styles", "random-words"}
    prompts = every["random-words"]
    assert np.allclose(shapes.teacher.encode_text(prompts.texts), prompts.targets, atol=1e-5)


def test_plain_prompts_are_the_templates_in_turn(every, shapes: Subject) -> None:
    prompts, templates = every["plain"], shapes.bank.templates.templates
    assert prompts.texts[:COUNT] == tuple(templates[n % len(templates)].format("red disc") for n in range(COUNT))
    assert np.allclose(prompts.targets[1], shapes.bank.vectors[0, 1], atol=1e-6)
    assert set(prompts.style) == {""}


def test_a_second_round_of_plain_templates_says_the_synonym(about: Callable[..., Subject]) -> None:
    prompts = written("plain", about("red disc | scarlet_disc", "blue bars"))
    assert prompts.texts[0] == "red disc"
    assert prompts.texts[10] == "scarlet disc"


@pytest.mark.parametrize("way", WAYS)
def test_one_class_alone_will_do(way: str, about: Callable[..., Subject]) -> None:
    prompts = written(way, about("red disc"))
    assert prompts.shares.tolist() == [[1.0]] * COUNT


def test_how_diverse_they_are_is_said(shapes: Subject, caplog) -> None:
    with caplog.at_level(logging.INFO, logger="edgedistill"):
        written("plain", shapes)
    (said,) = (message for message in caplog.messages if message.startswith("prompts"))
    assert said.startswith("prompts (plain): cosine inside a class 0.")
    assert said.endswith("100 % taken for their class")


def test_prompts_come_back_as_they_were_saved(every, tmp_path: Path) -> None:
    for folder in (tmp_path / "one", tmp_path / "two"):
        folder.mkdir()
        every["mix-classes"].save(folder)
    loaded = Prompts.load(tmp_path / "one")
    for field in dataclasses.fields(Prompts):
        assert np.array_equal(getattr(loaded, field.name), getattr(every["mix-classes"], field.name))
    files = [folder / "image_prompts.safetensors" for folder in (tmp_path / "one", tmp_path / "two")]
    assert files[0].read_bytes() == files[1].read_bytes()


def test_damaged_prompts_are_named(every, tmp_path: Path) -> None:
    dataclasses.replace(every["plain"], texts=("one",)).save(tmp_path)
    with pytest.raises(InputError, match=r"image_prompts\.safetensors is damaged: 1 texts do not fit 96 classes"):
        Prompts.load(tmp_path)
    (tmp_path / "image_prompts.safetensors").write_bytes(b"\0" * 30)
    with pytest.raises(InputError, match=r"image_prompts\.safetensors is damaged"):
        Prompts.load(tmp_path)
