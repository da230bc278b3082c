from __future__ import annotations

import numpy as np
import pytest
import torch

from edgedistill.distil.methods.embedding import Embedding

from .reference import loss_of, problem, unit


def test_equals_its_formula() -> None:
    p = problem()
    g = unit(p.h)
    assert loss_of(Embedding(), p)["total"].item() == pytest.approx(np.mean([1 - a @ b for a, b in zip(p.u, g)]))
    squared = [sum((a - b) ** 2) for a, b in zip(p.u, g)]
    assert loss_of(Embedding(distance="mse"), p)["total"].item() == pytest.approx(np.mean(squared))


def test_on_unit_vectors_mse_is_twice_the_cosine_distance() -> None:
    p = problem()
    assert loss_of(Embedding(distance="mse"), p)["total"].item() == pytest.approx(
        2 * loss_of(Embedding(distance="cosine"), p)["total"].item()
    )


@pytest.mark.parametrize("distance", ["cosine", "mse"])
def test_gradient_is_right_and_vanishes_at_the_teacher(distance: str) -> None:
    p = problem(batch=4, dim=5)
    h = torch.from_numpy(p.h).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda h: loss_of(Embedding(distance=distance), p, h)["total"], (h,))
    at_teacher = torch.from_numpy(2 * p.u).requires_grad_(True)
    loss_of(Embedding(distance=distance), p, at_teacher)["total"].backward()
    assert at_teacher.grad is not None
    assert at_teacher.grad.abs().max() < 1e-12
