"""Training with int8's steps in the way: the steps are real, the weights stay plain, and the harm of int8 shrinks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from onnxruntime.quantization.quant_utils import compute_scale_zp, get_qmin_qmax_for_qType
from torch import Tensor

from edgedistill.distil import fine_tune
from edgedistill.distil.config import TrainConfig
from edgedistill.distil.fine_tune import config_for, steps_of, with_steps
from edgedistill.distil.loop import train
from edgedistill.distil.student import Student
from edgedistill.distil.student_files import load_student
from edgedistill.export.graph import BakedClassifier, GraphSpec, to_onnx
from edgedistill.export.quantise import ONNXRUNTIME, TENSORRT, layers, quantisable
from edgedistill.teacher.store import TeacherStore

from .colours import DIM as COLOUR_DIM
from .colours import SIZE as COLOUR_SIZE
from .colours import config, fresh_student, lesson

SIZE, DIM = 32, 8


@pytest.fixture(scope="module", params=["test_efficientnet", "tf_mobilenetv3_small_075", "test_vit"])
def student(request: pytest.FixtureRequest) -> Student:
    """The second pads its convolutions in a way of its own, the third has linear layers behind its first."""
    torch.manual_seed(0)
    return Student(request.param, DIM, size=SIZE).eval()


def images(count: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 3), dtype=np.uint8)


def feature(student: Student, shown: np.ndarray) -> Tensor:
    return student(torch.from_numpy(shown))[0]


@pytest.mark.parametrize("symmetric", [False, True])
def test_it_computes_nearly_what_the_student_does_and_has_its_very_weights(student: Student, symmetric: bool) -> None:
    stepped = with_steps(student, images(), symmetric=symmetric)
    with torch.no_grad():
        own, plain = feature(stepped, images()), feature(student, images())
    assert 1e-4 < float((own - plain).norm() / plain.norm()) < 0.3
    kept = stepped.state_dict()
    assert list(kept) == list(student.state_dict())
    assert all(torch.equal(value, kept[name]) for name, value in student.state_dict().items())
    assert not any(type(layer).__name__.startswith("Stepped") for layer in student.modules())  # left as it was


def stepped_layers(student: Student) -> list[Any]:
    return [layer for layer in student.backbone.modules() if type(layer).__name__.startswith("Stepped")]


def test_a_weight_has_255_steps_at_most_in_each_channel(student: Student) -> None:
    layers = stepped_layers(with_steps(student, images(), symmetric=False))
    assert layers
    for layer in layers:
        rounded, plain = layer.weight.flatten(1), layer._parameters["weight"].flatten(1)
        step = plain.abs().amax(1, keepdim=True) / 127
        assert torch.allclose(rounded / step, (rounded / step).round(), atol=1e-3)
        assert ((rounded - plain).abs() <= 0.501 * step).all()


def test_every_layer_that_is_quantised_has_steps(student: Student) -> None:
    """By the graph: each of its nodes with a weight, but the products of two activations inside attention."""
    model = to_onnx(
        BakedClassifier(student, np.eye(DIM, dtype=np.float32), 40.0, size=SIZE, half=False), GraphSpec(size=SIZE)
    )
    weights = {item.name for item in model.graph.initializer}
    for dialect in (ONNXRUNTIME, TENSORRT):
        names = layers(model, quantisable(model, dialect))
        weighted = [node for node in model.graph.node if node.name in names and node.input[1] in weights]
        assert len(stepped_layers(with_steps(student, images(), symmetric=dialect.symmetric))) == len(weighted)


RANGES = [(-1.0, 3.0), (0.0, 6.0), (-2.5, -0.5), (0.25, 1.0), (-1e-3, 7e3)]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize(("low", "high"), RANGES)
def test_inputs_have_the_steps_of_the_graph_that_onnxruntime_writes(low: float, high: float, symmetric: bool) -> None:
    kind = TENSORRT.activations if symmetric else ONNXRUNTIME.activations
    first, last = get_qmin_qmax_for_qType(kind.tensor_type, symmetric=symmetric)
    zero, scale = compute_scale_zp(np.float32(low), np.float32(high), first, last, symmetric)
    steps = steps_of(low, high, symmetric=symmetric)
    assert (steps.scale, steps.zero) == (pytest.approx(float(scale), rel=1e-5), int(zero))
    assert (steps.first, steps.last) == ((-128, 127) if symmetric else (0, 255))
    if symmetric and low >= 0:  # after a ReLU half of them are never used
        assert steps.scale == pytest.approx(2 * steps_of(low, high, symmetric=False).scale, rel=0.01)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("layer", [torch.nn.Linear(6, 4), torch.nn.Conv2d(6, 4, 1)], ids=["linear", "convolution"])
def test_a_stepped_layer_is_plain_numpy_on_rounded_numbers(layer: torch.nn.Module, symmetric: bool) -> None:
    shown = np.random.default_rng(1).normal(size=(5, 6)).astype(np.float32)
    steps = steps_of(-1.0, 2.0, symmetric=symmetric)  # some of it lies outside
    value = np.clip(np.rint(shown / steps.scale) + steps.zero, steps.first, steps.last)
    value = (value - steps.zero) * steps.scale
    weight, bias = (parameter.detach().numpy().reshape(4, -1) for parameter in (layer.weight, layer.bias))
    size = np.abs(weight).max(axis=1, keepdims=True) / 127
    wanted = value @ (np.rint(weight / size) * size).T + bias[:, 0]
    stepped = copy.deepcopy(layer)
    stepped.__class__ = fine_tune._stepped_class(type(layer))
    stepped.steps = steps
    shape = (5, 6) if isinstance(layer, torch.nn.Linear) else (5, 6, 1, 1)
    with torch.no_grad():
        assert stepped(torch.from_numpy(shown).reshape(shape)).reshape(5, 4).numpy() == pytest.approx(wanted, abs=1e-5)


def test_a_copy_learns_with_the_steps_in_its_way(student: Student) -> None:
    """The training loop copies the student: what learns and what is averaged both have to have them."""
    stepped = copy.deepcopy(with_steps(student, images(), symmetric=False)).requires_grad_(True)
    before = [value.clone() for value in stepped.backbone.parameters()]
    towards = feature(student, images()).detach()
    towards = towards + torch.linspace(-1, 1, towards.shape[1])  # of mean 0, which a last LayerNorm can reach
    optimiser = torch.optim.Adam(stepped.backbone.parameters(), lr=1e-3)
    losses = []
    for _ in range(6):
        loss = F.mse_loss(feature(stepped, images()), towards)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0]
    weights = [(old, new) for old, new in zip(before, stepped.backbone.parameters()) if old.ndim in (2, 4)]
    assert all(not torch.equal(old, new) for old, new in weights)


def test_the_loop_teaches_it_and_leaves_plain_weights(store: TeacherStore, tmp_path: Path) -> None:
    start = fresh_student()
    shown = store.pixels.crops(range(16), [0] * 16, COLOUR_SIZE).numpy()
    train(with_steps(start, shown, symmetric=False), lesson(store), config_for(config(), 2), tmp_path)
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
