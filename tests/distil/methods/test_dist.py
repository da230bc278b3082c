from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from edgedistill.distil.methods.dist import DIST
from edgedistill.errors import InputError

from .reference import loss_of, mean_one_minus_pearson, problem, softmax, unit


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
