"""What every method of the list has in common, with the options it has by default."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from edgedistill.distil.methods import METHODS, make
from edgedistill.distil.methods.base import Method, State, TeacherOut

from .reference import problem, student_out, unit

LENGTH_COUNTS = {"nvidia": 10.0}
"""Those that compare embeddings before they are made unit, and how long theirs are."""

COMPARES_PAIRS = {"prg"}
"""Those that compare an image with the others of its batch: an equal one is its neighbour, it itself is not."""

scale_free = pytest.mark.parametrize("name", [name for name in METHODS if name not in LENGTH_COUNTS])


def total(name: str, p: SimpleNamespace, weight: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss on the problem and its gradient with respect to h, in float64, for a method that has seen a batch."""
    method = make(name)
    h = torch.tensor(p.h, requires_grad=True)
    teacher = TeacherOut(u=torch.from_numpy(p.u), weight=weight)
    loss = method.loss(student_out(h), teacher, after_a_batch(method, p))["total"]
    loss.backward()
    assert h.grad is not None
    return loss.detach(), h.grad


def after_a_batch(method: Method, p: SimpleNamespace) -> State:
    """A state with a memory, if the method has one."""
    state: Any = method.prepare(p)  # type: ignore[arg-type]
    past = torch.from_numpy(unit(np.random.default_rng(9).normal(size=(6, p.u.shape[1]))))
    method.advance(student_out(past), TeacherOut(u=past), state)
    return state  # type: ignore[no-any-return]


def rows_of(p: SimpleNamespace, rows: Any) -> SimpleNamespace:
    """The same classes and pool with another batch."""
    q = copy.copy(p)
    q.u, q.h = p.u[rows], p.h[rows]
    return q


@pytest.mark.parametrize("name", METHODS)
def test_there_is_something_to_learn_from(name: str) -> None:
    loss, gradient = total(name, problem())
    assert loss > 1e-3
    assert (gradient.norm(dim=-1) > 1e-6).all()


@pytest.mark.parametrize("name", METHODS)
def test_a_student_equal_to_the_teacher_has_no_loss_and_no_gradient(name: str) -> None:
    p = problem()
    p.h = LENGTH_COUNTS.get(name, 2.7) * p.u
    loss, gradient = total(name, p)
    assert abs(loss) < 1e-6
    assert gradient.abs().max() < 1e-5


@scale_free
def test_the_length_of_h_does_not_matter_and_no_gradient_goes_along_it(name: str) -> None:
    p = problem()
    loss, gradient = total(name, p)
    assert (torch.from_numpy(p.h) * gradient).sum(-1).abs().max() < 1e-6
    p.h = 2.7 * p.h
    assert total(name, p)[0].item() == pytest.approx(loss.item(), rel=1e-6)


@pytest.mark.parametrize("name", sorted(LENGTH_COUNTS))
def test_the_length_of_h_matters_to_those_that_compare_it(name: str) -> None:
    p = problem()
    p.h = 2.7 * p.u
    assert total(name, p)[0] > 1e-3


@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_images_does_not_matter(name: str) -> None:
    p = problem()
    order = np.random.default_rng(1).permutation(len(p.u))
    loss, gradient = total(name, p)
    same, its_gradient = total(name, rows_of(p, order))
    assert same.item() == pytest.approx(loss.item(), rel=1e-6)
    assert torch.allclose(its_gradient, gradient[order], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_the_order_of_classes_does_not_matter(name: str) -> None:
    p = problem()
    q = copy.deepcopy(p)
    order = np.random.default_rng(2).permutation(len(p.classes.text))
    q.bank.vectors = p.bank.vectors[order]
    q.classes.text = q.classes.baked = p.classes.text[order]
    assert total(name, q)[0].item() == pytest.approx(total(name, p)[0].item(), rel=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_row_of_weight_zero_is_not_there(name: str) -> None:
    p, kept = problem(), [0, 1, 2, 4, 6]
    weight = torch.zeros(7)
    weight[kept] = torch.tensor([0.5, 1.0, 0.25, 2.0, 1.0])
    loss, gradient = total(name, p, weight)
    without, its_gradient = total(name, rows_of(p, kept), weight[kept])
    assert gradient[[3, 5]].abs().max() == 0
    assert loss.item() == pytest.approx(without.item(), rel=1e-6)
    assert torch.allclose(gradient[kept], its_gradient, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in COMPARES_PAIRS])
def test_a_row_of_weight_two_is_there_twice(name: str) -> None:
    p = problem()
    weight = torch.ones(7)
    weight[2] = 2
    twice = total(name, rows_of(p, [0, 1, 2, 2, 3, 4, 5, 6]))[0]
    assert total(name, p, weight)[0].item() == pytest.approx(twice.item(), rel=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_rows_that_weigh_the_same_weigh_nothing(name: str) -> None:
    p = problem()
    plain, gradient = total(name, p)
    weighed, its_gradient = total(name, p, torch.full((7,), 0.3))
    assert weighed.item() == pytest.approx(plain.item(), rel=1e-5)
    assert torch.allclose(its_gradient, gradient, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_a_batch_of_rows_that_do_not_count_teaches_nothing(name: str) -> None:
    loss, gradient = total(name, problem(), torch.zeros(7))
    assert loss == 0
    assert gradient.abs().max() == 0


@pytest.mark.parametrize("name", METHODS)
def test_float32_stays_finite_where_the_teacher_is_sure(name: str) -> None:
    p = problem()
    p.classes.scale = p.bank.scale = 1000.0
    method = make(name)
    h = torch.from_numpy(p.h).float().requires_grad_(True)
    teacher = TeacherOut(u=torch.from_numpy(p.u).float())
    loss = method.loss(student_out(h), teacher, after_a_batch(method, p))["total"]
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert h.grad is not None
    assert torch.isfinite(h.grad).all()
