from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from edgedistill.distil.methods.dist import DIST, one_minus_pearson
from edgedistill.errors import InputError

from .reference import loss_of, mean_one_minus_pearson, problem, softmax, unit


def table(seed: int, rows: int = 5, columns: int = 7) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((rows, columns)))


@pytest.mark.parametrize("tau", [1.0, 4.0])
@pytest.mark.parametrize(("beta", "gamma"), [(2.0, 2.0), (1.0, 0.5), (1.0, 0.0), (0.0, 1.0)])
def test_equals_its_formula(tau: float, beta: float, gamma: float) -> None:
    p = problem()
    vectors = p.classes.baked.astype(np.float64)
    of_teacher, of_student = (np.array([softmax(row) for row in 20 * x @ vectors.T / tau]) for x in (p.u, unit(p.h)))
    inter = beta * tau**2 * mean_one_minus_pearson(of_teacher, of_student)
    intra = gamma * tau**2 * mean_one_minus_pearson(of_teacher.T, of_student.T)
    parts = loss_of(DIST(beta=beta, gamma=gamma, tau=tau), p)
    assert parts["total"].item() == pytest.approx(inter + intra, rel=1e-5)
    assert ("inter" in parts, "intra" in parts) == (beta > 0, gamma > 0)


def test_gradient_is_that_of_the_function() -> None:
    p = problem(batch=4, classes=4, dim=5)
    h = torch.from_numpy(p.h).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda h: loss_of(DIST(tau=3), p, h)["total"], (h,))


def test_a_positive_factor_and_a_constant_in_each_row_are_not_seen() -> None:
    p, q = table(0), table(1)
    factor, constant = 0.1 + table(2, columns=1), table(3, columns=1)
    assert torch.allclose(one_minus_pearson(p, factor * q + constant), one_minus_pearson(p, q), atol=1e-8)
    assert one_minus_pearson(p, factor * p + constant).abs().max() < 1e-8
    assert torch.allclose(one_minus_pearson(p, -factor * p), torch.full((5,), 2.0).double())


def test_weights_of_entries_are_those_of_a_weighted_correlation() -> None:
    p, q = table(0), table(1)
    weight = torch.tensor([0.5, 2.0, 0.0, 1.0, 3.0, 0.1, 1.0]).double()
    for x, y, found in zip(p, q, one_minus_pearson(p, q, weight)):
        covariance = np.cov(x, y, aweights=weight, bias=True)
        expected = 1 - covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1])
        assert found.item() == pytest.approx(expected, rel=1e-6)


def test_a_constant_row_agrees_with_a_constant_one_and_stays_finite() -> None:
    flat, other = torch.full((1, 7), 0.2).double(), table(1, rows=1)
    assert one_minus_pearson(flat, 3 * flat).item() == 0
    assert one_minus_pearson(flat, other).item() == pytest.approx(0.5)
    student = flat.clone().requires_grad_(True)
    one_minus_pearson(other, student).sum().backward()
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_a_batch_of_one_is_compared_over_classes_alone() -> None:
    parts = loss_of(DIST(), problem(batch=1))
    assert parts["intra"].item() == 0
    assert parts["inter"].item() > 0


@pytest.mark.parametrize("classes", [1, 2])
def test_fewer_than_three_classes_are_refused(classes: int) -> None:
    with pytest.raises(InputError, match=rf"at least three classes, the list has {classes}\nUse --method kd"):
        DIST().prepare(problem(classes=classes))  # type: ignore[arg-type]


@pytest.mark.parametrize(("classes", "warned"), [(3, True), (5, True), (6, False)])
def test_a_short_list_is_warned_about(classes: int, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        DIST().prepare(problem(classes=classes))  # type: ignore[arg-type]
    assert any(f"only {classes} prob" in record.message for record in caplog.records) == warned


@pytest.mark.parametrize("wrong", [{"beta": -1.0}, {"gamma": -1.0}, {"beta": 0.0, "gamma": 0.0}, {"tau": 0.0}])
def test_options_out_of_range_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        DIST(**wrong)
