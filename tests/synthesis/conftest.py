"""Subjects: the tiny teacher with its eight classes or any, the example, and given vectors that need no teacher."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_bank import make_bank, unit
from tiny_images import CLASSES

from edgedistill.classes.templates import template_set
from edgedistill.classes.text_bank import build_text_bank
from edgedistill.labels import Label, Labels
from edgedistill.synthesis.candidates import Subject
from edgedistill.teacher.names import find_teacher
from edgedistill.teacher.tower import Teacher

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(scope="session")
def about(tiny_teacher: Teacher) -> Callable[..., Subject]:
    """Makes the subject of classes with these names, `name | synonym` with the synonyms."""

    def make(*names: str) -> Subject:
        words = [name.split(" | ") for name in names]
        labels = Labels(tuple(Label(own, tuple(synonyms)) for own, *synonyms in words))
        return Subject(build_text_bank(tiny_teacher, labels, template_set("general")), tiny_teacher, labels)

    return make


@pytest.fixture(scope="session")
def shapes(about: Callable[..., Subject]) -> Subject:
    return about(*CLASSES)


@pytest.fixture(scope="session")
def parts() -> Subject:
    """Of the example's six classes, as its teacher reads them."""
    teacher = Teacher(find_teacher(f"local-dir:{EXAMPLES / 'teacher'}"), dtype="float32")
    labels = Labels.read(EXAMPLES / "parts/labels.txt")
    return Subject(build_text_bank(teacher, labels, template_set("general")), teacher, labels)


@pytest.fixture
def given() -> Callable[[np.ndarray], Subject]:
    """Makes the subject of classes that have these vectors [C, D] and a teacher that only knows its dimension."""

    def make(vectors: np.ndarray) -> Subject:
        bank = make_bank(unit(vectors)[:, None].astype(np.float32))
        labels = Labels(tuple(Label(name) for name in bank.names))
        return Subject(bank, SimpleNamespace(dim=vectors.shape[1]), labels)

    return make
