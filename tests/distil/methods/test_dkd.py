from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from edgedistill.distil.methods.base import kl
from edgedistill.distil.methods.dkd import DKD, decoupled
from edgedistill.distil.methods.kd import KD
from edgedistill.errors import InputError

from .reference import kl_rows, loss_of, problem, softmax, unit


def slow(z_teacher: np.ndarray, z_student: np.ndarray, tau: float) -> tuple[float, float]:
    """TCKD and NCKD in loops."""
    of_target, of_others = 0.0, 0.0
    for zt, zs in zip(z_teacher / tau, z_student / tau):
        p, q, t = softmax(zt), softmax(zs), int(np.argmax(zt))
        of_target += p[t] * math.log(p[t] / q[t]) + (1 - p[t]) * math.log((1 - p[t]) / (1 - q[t]))
        of_others += kl_rows(np.delete(zt, t)[None], np.delete(zs, t)[None])
    return tau**2 * of_target / len(z_teacher), tau**2 * of_others / len(z_teacher)


def logits(seed: int, spread: float = 3.0, classes: int = 6) -> torch.Tensor:
    return torch.from_numpy(spread * np.random.default_rng(seed).normal(size=(32, classes)))


@pytest.mark.parametrize("tau", [1.0, 4.0])
@pytest.mark.parametrize("beta", [0.0, 1.0, 8.0])
def test_equals_its_formula(tau: float, beta: float) -> None:
    p = problem()
    vectors = p.classes.baked.astype(np.float64)
    of_target, of_others = slow(20 * p.u @ vectors.T, 20 * unit(p.h) @ vectors.T, tau)
    parts = loss_of(DKD(tau=tau, beta=beta), p)
    assert parts["tckd"].item() == pytest.approx(of_target, rel=1e-6)
    assert parts["nckd"].item() == pytest.approx(beta * of_others, rel=1e-6)
    assert parts["total"].item() == pytest.approx(of_target + beta * of_others, rel=1e-6)


@pytest.mark.parametrize("spread", [0.3, 3.0, 30.0])
def test_its_two_terms_are_kl_when_the_second_is_weighed_by_what_the_target_leaves(spread: float) -> None:
    zt, zs = logits(0, spread), logits(1, spread)
    of_target, of_others, left = decoupled(zt, zs)
    assert (of_target + left * of_others).mean().item() == pytest.approx(kl(zt, zs).item(), rel=1e-12, abs=1e-12)
    p = zt.softmax(-1).max(-1).values
    assert torch.allclose(left, 1 - p, atol=1e-12)


def test_a_surer_teacher_silences_the_others_in_kl_and_not_here() -> None:
    zt, zs = logits(0), logits(1)
    best = torch.nn.functional.one_hot(zt.argmax(-1), 6)
    _, before, left = decoupled(zt, zs)
    _, after, less = decoupled(zt + 5 * best, zs)
    assert torch.allclose(after, before, atol=1e-12)
    assert (less < left).all()


def test_the_target_class_is_the_teachers_and_not_the_students() -> None:
    zt, zs = torch.tensor([[3.0, 0.0, 1.0]]).double(), torch.tensor([[0.0, 4.0, 1.0]]).double()
    of_target, of_others, _ = decoupled(zt, zs)
    assert of_target.item() == pytest.approx(slow(zt.numpy(), zs.numpy(), 1.0)[0])
    assert of_others.item() == pytest.approx(kl_rows(np.array([[0.0, 1.0]]), np.array([[4.0, 1.0]])))


def test_gradient_is_that_of_the_function() -> None:
    p = problem(batch=4, classes=4, dim=5)
    h = torch.from_numpy(p.h).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda h: loss_of(DKD(tau=2, beta=3), p, h)["total"], (h,))


def test_two_classes_leave_no_others_and_are_refused() -> None:
    zt, zs = logits(0, classes=2), logits(1, classes=2)
    of_target, of_others, _ = decoupled(zt, zs)
    assert of_others.abs().max() == 0
    assert of_target.mean().item() == pytest.approx(kl(zt, zs).item(), rel=1e-12)
    with pytest.raises(InputError, match=r"at least three classes, the list has 2\nUse --method kd"):
        DKD().prepare(problem(classes=2))  # type: ignore[arg-type]
    KD().prepare(problem(classes=2))  # type: ignore[arg-type]


def test_a_sure_teachers_others_are_not_lost_in_float32() -> None:
    zt, zs = torch.tensor([[40.0, 2.0, 0.0, 1.0]]), torch.tensor([[0.0, 1.0, 2.0, 0.0]])
    _, of_others, left = decoupled(zt, zs)
    expected = kl_rows(np.array([[2.0, 0.0, 1.0]]), np.array([[1.0, 2.0, 0.0]]))
    assert of_others.item() == pytest.approx(expected, rel=1e-5)
    assert 0 < left.item() < 1e-15


@pytest.mark.parametrize("wrong", [{"beta": -1.0}, {"tau": 0.0}])
def test_options_out_of_range_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        DKD(**wrong)
