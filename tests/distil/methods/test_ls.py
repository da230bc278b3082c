from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from edgedistill.distil.methods.base import kl
from edgedistill.distil.methods.kd import KD
from edgedistill.distil.methods.ls import LS, standardised
from edgedistill.errors import InputError

from .reference import kl_rows, loss_of, problem, unit


def slow(z: np.ndarray) -> np.ndarray:
    return np.array([(row - np.mean(row)) / np.std(row) for row in z])


def logits(seed: int, classes: int = 6) -> torch.Tensor:
    return torch.from_numpy(3 * np.random.default_rng(seed).normal(size=(16, classes)))


@pytest.mark.parametrize("tau", [1.0, 2.0])
@pytest.mark.parametrize("weight", [0.5, 9.0])
def test_equals_its_formula(tau: float, weight: float) -> None:
    p = problem()
    vectors = p.classes.baked.astype(np.float64)
    zt, zs = 20 * p.u @ vectors.T, 20 * unit(p.h) @ vectors.T
    parts = loss_of(LS(tau=tau, weight=weight), p)
    assert parts["kl"].item() == pytest.approx(kl_rows(zt, zs), rel=1e-6)
    assert parts["standard"].item() == pytest.approx(weight * kl_rows(slow(zt), slow(zs), tau), rel=1e-6)
    assert parts["total"].item() == pytest.approx((parts["kl"] + parts["standard"]).item())
    assert parts["kl"].item() == pytest.approx(loss_of(KD(), p)["kl"].item(), rel=1e-12)


def test_gradient_is_that_of_the_function() -> None:
    p = problem(batch=4, classes=4, dim=5)
    h = torch.from_numpy(p.h).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda h: loss_of(LS(weight=3), p, h)["total"], (h,))


def test_standardised_logits_do_not_see_a_positive_factor_and_a_constant() -> None:
    zt, draw = logits(0), np.random.default_rng(1)
    factor, constant = torch.from_numpy(0.1 + draw.random((16, 1))), torch.from_numpy(draw.normal(size=(16, 1)))
    assert kl(standardised(zt), standardised(factor * zt + constant), 2.0).item() < 1e-12
    assert kl(zt, factor * zt + constant).item() > 0.1


def test_a_flat_row_stays_finite() -> None:
    flat = torch.full((1, 6), 2.0).double().requires_grad_(True)
    kl(standardised(logits(0)[:1]), standardised(flat), 2.0).backward()
    assert flat.grad is not None
    assert torch.isfinite(flat.grad).all()


@pytest.mark.parametrize("classes", [1, 2])
def test_fewer_than_three_classes_are_refused(classes: int) -> None:
    with pytest.raises(InputError, match=rf"at least three classes, the list has {classes}\nUse --method kd"):
        LS().prepare(problem(classes=classes))  # type: ignore[arg-type]


def test_two_classes_would_have_no_gradient() -> None:
    z = logits(1, classes=2).requires_grad_(True)
    kl(standardised(logits(0, classes=2)), standardised(z), 2.0).backward()
    assert z.grad is not None
    assert z.grad.abs().max() < 1e-6


@pytest.mark.parametrize(("classes", "warned"), [(3, True), (5, True), (6, False)])
def test_a_short_list_is_warned_about(classes: int, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        LS().prepare(problem(classes=classes))  # type: ignore[arg-type]
    assert any(f"only {classes} logits" in record.message for record in caplog.records) == warned


@pytest.mark.parametrize(("wrong", "says"), [({"weight": 0.0}, "--method kd"), ({"tau": 0.0}, "tau")])
def test_it_is_never_alone_and_never_nothing(wrong: dict[str, float], says: str) -> None:
    with pytest.raises(InputError, match=says):
        LS(**wrong)
