"""Training with int8's steps in the way: the steps are real, the weights stay plain, and the harm of int8 shrinks."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edgedistill.distil.config import TrainConfig
from edgedistill.distil.fine_tune import config_for, with_steps
from edgedistill.distil.loop import train
from edgedistill.distil.student import Student
from edgedistill.distil.student_files import load_student
from edgedistill.teacher.store import TeacherStore

from .colours import DIM as COLOUR_DIM
from .colours import SIZE as COLOUR_SIZE
from .colours import config, fresh_student, lesson

SIZE, DIM = 32, 8


@pytest.fixture(scope="module", params=["test_efficientnet", "tf_mobilenetv3_small_075"])
def student(request: pytest.FixtureRequest) -> Student:
    """The second pads its convolutions in a way of its own."""
    torch.manual_seed(0)
    return Student(request.param, DIM, size=SIZE).eval()


def images(count: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def feature(student: Student, shown: np.ndarray) -> Tensor:
    return student(torch.from_numpy(shown))[0]


def test_it_computes_nearly_what_the_student_does_and_has_its_very_weights(student: Student) -> None:
    stepped = with_steps(student, images())
    with torch.no_grad():
        own, plain = feature(stepped, images()), feature(student, images())
    assert 1e-4 < float((own - plain).norm() / plain.norm()) < 0.3
    kept = stepped.state_dict()
    assert list(kept) == list(student.state_dict())
    assert all(torch.equal(value, kept[name]) for name, value in student.state_dict().items())
    assert not any(type(layer).__name__.startswith("Stepped") for layer in student.modules())  # left as it was


def test_a_weight_has_256_steps_at_most_in_each_channel(student: Student) -> None:
    stepped = with_steps(student, images())
    layers = [layer for layer in stepped.backbone.modules() if type(layer).__name__.startswith("Stepped")]
    assert layers
    for layer in layers:
        rounded, plain = layer.weight.flatten(1), layer._parameters["weight"].flatten(1)
        step = plain.abs().amax(1, keepdim=True) / 127
        assert torch.allclose(rounded / step, (rounded / step).round(), atol=1e-3)
        assert ((rounded - plain).abs() <= 0.501 * step).all()


def test_a_copy_learns_with_the_steps_in_its_way(student: Student) -> None:
    """The training loop copies the student: what learns and what is averaged both have to have them."""
    stepped = copy.deepcopy(with_steps(student, images())).requires_grad_(True)
    before = [value.clone() for value in stepped.backbone.parameters()]
    towards = feature(student, images()).detach() + 1
    optimiser = torch.optim.Adam(stepped.backbone.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = F.mse_loss(feature(stepped, images()), towards)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    weights = [(old, new) for old, new in zip(before, stepped.backbone.parameters()) if old.ndim == 4]
    assert all(not torch.equal(old, new) for old, new in weights)


def test_the_loop_teaches_it_and_leaves_plain_weights(store: TeacherStore, tmp_path: Path) -> None:
    start = fresh_student()
    shown = store.pixels.crops(range(16), [0] * 16, COLOUR_SIZE).numpy()
    train(with_steps(start, shown), lesson(store), config_for(config(), 2), tmp_path)
    taught, _ = load_student(tmp_path, dim=COLOUR_DIM, teacher_hash=lesson(store).bank.teacher_hash, size=COLOUR_SIZE)
    assert list(taught.state_dict()) == list(start.state_dict())
    moved = [not torch.equal(a, b) for a, b in zip(start.backbone.parameters(), taught.backbone.parameters())]
    assert any(moved)
    assert not any(type(layer).__name__.startswith("Stepped") for layer in taught.modules())


def test_fine_tuning_takes_a_tenth_of_the_epochs_and_keeps_the_statistics() -> None:
    trained = TrainConfig(size=SIZE, batch=16, dtype="float32", lr=1e-3)
    assert (config_for(trained, 60).epochs, config_for(trained, 4).epochs) == (6, 2)
    assert (config_for(trained, 60).norm, config_for(trained, 60).lr) == ("start", 1e-4)
    assert config_for(trained, 60).batch == 16
