"""A teacher of three classes that is a convolution and a pool, and prompts for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from edgedistill.synthesis.teacher_engine import Sight

DIM, CLASSES = 12, 3


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
    return nn.functional.normalize(tower(drawings(CLASSES)), dim=1)


@pytest.fixture
def sight(tower: nn.Module, class_vectors: torch.Tensor) -> Sight:
    return Sight(tower, 24, class_vectors, 20.0, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture
def prompts(class_vectors: torch.Tensor) -> Any:
    """Two for each class, whose targets are the class vectors."""
    classes = np.arange(2 * CLASSES) % CLASSES
    shares = np.eye(CLASSES, dtype=np.float32)[classes]
    return SimpleNamespace(classes=classes, shares=shares, targets=class_vectors.numpy()[classes])
