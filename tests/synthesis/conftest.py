"""Subjects of prompts, from the tiny teacher or given vectors; a teacher that is a convolution and a pool; a judge."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from painter import LABELS
from tiny_bank import make_bank, unit
from tiny_images import CLASSES
from torch import nn

from edgedistill.classes import stages as classes_stages
from edgedistill.classes.templates import template_set
from edgedistill.classes.text_bank import build_text_bank
from edgedistill.labels import Label, Labels
from edgedistill.synthesis.candidates import Subject
from edgedistill.synthesis.judge import Judge
from edgedistill.synthesis.teacher_engine import Sight
from edgedistill.teacher.in_use import TeacherInUse
from edgedistill.teacher.names import find_teacher
from edgedistill.teacher.tower import Teacher
from edgedistill.work.compute import Compute
from edgedistill.work.console import SILENT
from edgedistill.work.stage import WorkFolder

EXAMPLES = Path(__file__).parents[2] / "examples"
DIM, DRAWN = 12, 3  # of the convolution: features, classes


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


@pytest.fixture
def tower() -> nn.Module:
    torch.manual_seed(0)
    convolution = nn.Conv2d(3, 16, 5, stride=2)
    convolution.weight.data *= 3
    layers = (convolution, nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, DIM))
    network = nn.Sequential(*layers).eval().requires_grad_(False)
    layers[-1].bias -= network(drawings(64)).mean(0)  # or all images were alike
    return network


def drawings(count: int) -> torch.Tensor:
    """[count,3,24,24], normalised: blots of colour."""
    blots = torch.randn(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(blots, size=(24, 24), mode="bilinear")


@pytest.fixture
def class_vectors(tower: nn.Module) -> torch.Tensor:
    """What the teacher sees in three drawings, so that images can come near them."""
    return nn.functional.normalize(tower(drawings(DRAWN)), dim=1)


@pytest.fixture
def sight(tower: nn.Module, class_vectors: torch.Tensor) -> Sight:
    return Sight(tower, 24, class_vectors, 20.0, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture
def prompts(class_vectors: torch.Tensor) -> Any:
    """Two for each class, whose targets are the class vectors."""
    classes = np.arange(2 * DRAWN) % DRAWN
    shares = np.eye(DRAWN, dtype=np.float32)[classes]
    return SimpleNamespace(classes=classes, shares=shares, targets=class_vectors.numpy()[classes])


@pytest.fixture
def judge(tmp_path: Path, tiny_teacher_folder: Path) -> Judge:
    """The tiny teacher as a build uses it, with the class vectors of the painter's classes."""
    work = WorkFolder(tmp_path / "judging")
    teacher = TeacherInUse(find_teacher(f"local-dir:{tiny_teacher_folder}"), "float32", Compute("cpu", 1), work)
    bank = classes_stages.text_bank(work, LABELS, template_set("general"), teacher, SILENT)
    return Judge(teacher, unit(bank.vectors.mean(axis=1)).astype(np.float32), bank.scale)
