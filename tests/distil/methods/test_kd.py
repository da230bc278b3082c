from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edgedistill.distil.methods.base import kl
from edgedistill.distil.methods.kd import KD

from .reference import kl_rows, loss_of, problem, unit


@pytest.mark.parametrize("tau", [0.5, 1.0, 4.0])
@pytest.mark.parametrize("cosine", [0.0, 0.7])
def test_equals_its_formula(tau: float, cosine: float) -> None:
    p = problem()
    vectors, g = p.classes.baked.astype(np.float64), unit(p.h)
    expected = kl_rows(20 * p.u @ vectors.T, 20 * g @ vectors.T, tau)
    parts = loss_of(KD(tau=tau, cosine=cosine), p)
    assert parts["kl"].item() == pytest.approx(expected, rel=1e-6)
    assert parts["total"].item() == pytest.approx(expected + cosine * np.mean(1 - (p.u * g).sum(-1)), rel=1e-6)
    assert ("cosine" in parts) == (cosine > 0)


def test_gradient_is_that_of_the_function() -> None:
    p = problem(batch=4, classes=3, dim=5)
    h = torch.from_numpy(p.h).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda h: loss_of(KD(tau=2, cosine=0.5), p, h)["total"], (h,))


def test_nothing_to_learn_from_an_equal_student() -> None:
    p = problem()
    h = torch.from_numpy(3 * p.u).requires_grad_(True)
    total = loss_of(KD(cosine=1), p, h)["total"]
    total.backward()
    assert h.grad is not None
    assert abs(total.item()) < 1e-12
    assert h.grad.abs().max() < 1e-12


def logits(seed: int, spread: float, classes: int = 6, batch: int = 64) -> torch.Tensor:
    return torch.from_numpy(spread * np.random.default_rng(seed).normal(size=(batch, classes)))


@pytest.mark.parametrize("tau", [1.0, 2.0])
def test_logit_gradient_is_the_difference_of_probabilities(tau: float) -> None:
    zt, zs = logits(0, 3), logits(1, 3).requires_grad_(True)
    kl(zt, zs, tau).backward()
    assert zs.grad is not None
    expected = tau * ((zs / tau).softmax(-1) - (zt / tau).softmax(-1)) / len(zt)
    assert torch.allclose(zs.grad, expected.detach(), atol=1e-12)
    assert zs.grad.abs().sum(-1).max() <= 2 * tau / len(zt)


def test_weight_does_not_depend_on_the_number_of_classes() -> None:
    zt, zs = logits(0, 3), logits(1, 3)
    impossible = torch.full((64, 10), -1e9, dtype=torch.float64)
    padded = kl(torch.cat([zt, impossible], dim=1), torch.cat([zs, impossible], dim=1))
    assert padded.item() == pytest.approx(kl(zt, zs).item(), rel=1e-12)


def test_a_constant_added_to_a_row_changes_nothing() -> None:
    zt, zs, shift = logits(0, 3), logits(1, 3), logits(2, 5, classes=1)
    assert kl(zt + shift, zs - shift).item() == pytest.approx(kl(zt, zs).item(), rel=1e-12)


@pytest.mark.parametrize(("spread", "alike"), [(0.3, True), (3.0, False)])
def test_tau_squared_keeps_gradients_alike_only_for_small_logits(spread: float, alike: bool) -> None:
    norms = []
    for tau in (1.0, 2.0, 4.0):
        zs = logits(1, spread).requires_grad_(True)
        kl(logits(0, spread), zs, tau).backward()
        assert zs.grad is not None
        norms.append(zs.grad.norm().item())
    assert (max(norms) / min(norms) < 1.05) == alike


def test_the_exported_vectors_are_the_ones_trained_against() -> None:
    p = problem()
    q: SimpleNamespace = copy.deepcopy(p)
    q.classes.baked = unit(q.classes.baked)
    assert loss_of(KD(), p)["kl"].item() != pytest.approx(loss_of(KD(), q)["kl"].item(), rel=1e-3)
    assert not KD().prepare(p).head.requires_grad  # type: ignore[arg-type]
