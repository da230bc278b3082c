from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from edgedistill.distil.methods.affinity import Affinity, over_images
from edgedistill.distil.methods.base import kl
from edgedistill.distil.methods.kd import KD
from edgedistill.errors import InputError

from .reference import kl_rows, loss_of, problem, softmax, unit


def tables(p: object) -> tuple[np.ndarray, np.ndarray]:
    vectors = p.classes.baked.astype(np.float64)  # type: ignore[attr-defined]
    return 20 * p.u @ vectors.T, 20 * unit(p.h) @ vectors.T  # type: ignore[attr-defined]


def cross_entropy(target: np.ndarray, student: np.ndarray) -> float:
    """Mean over rows, in loops."""
    total = 0.0
    for zt, zs in zip(target, student):
        total -= sum(p * math.log(q) for p, q in zip(softmax(zt), softmax(zs)))
    return total / len(target)


@pytest.mark.parametrize("columns", [1.0, 0.3])
def test_equals_its_formula(columns: float) -> None:
    p = problem()
    zt, zs = tables(p)
    parts = loss_of(Affinity(columns=columns), p)
    assert parts["rows"].item() == pytest.approx(kl_rows(zt, zs), rel=1e-6)
    assert parts["columns"].item() == pytest.approx(columns * kl_rows(zt.T, zs.T), rel=1e-6)
    assert parts["total"].item() == pytest.approx((parts["rows"] + parts["columns"]).item())
    assert parts["rows"].item() == pytest.approx(loss_of(KD(), p)["kl"].item(), rel=1e-12)


def test_it_is_the_papers_cross_entropies_but_for_the_teachers_entropy() -> None:
    p, other = problem(), problem()
    other.h = np.random.default_rng(4).normal(size=p.h.shape)
    differences = []
    for q in (p, other):
        zt, zs = tables(q)
        papers = cross_entropy(zt, zs) + cross_entropy(zt.T, zs.T)
        differences.append(papers - loss_of(Affinity(), q)["total"].item())
    assert differences[0] > 0.1
    assert differences[0] == pytest.approx(differences[1], rel=1e-5)


def test_gradient_is_that_of_the_function() -> None:
    p = problem(batch=4, classes=4, dim=5)
    h = torch.from_numpy(p.h).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda h: loss_of(Affinity(), p, h)["total"], (h,))


def test_a_constant_for_each_class_is_seen_by_rows_and_not_by_columns() -> None:
    zt, zs = (torch.from_numpy(z) for z in tables(problem()))
    shift = torch.from_numpy(np.random.default_rng(2).normal(size=5))
    assert kl(over_images(zt), over_images(zs + shift)).item() == pytest.approx(
        kl(over_images(zt), over_images(zs)).item(), rel=1e-10
    )
    assert kl(zt, zs + shift).item() != pytest.approx(kl(zt, zs).item(), rel=1e-2)


def test_a_class_list_given_twice_leaves_the_weight_of_columns_as_it_was() -> None:
    zt, zs = (torch.from_numpy(z) for z in tables(problem()))
    doubled = kl(over_images(torch.cat([zt, zt], dim=1)), over_images(torch.cat([zs, zs], dim=1)))
    assert doubled.item() == pytest.approx(kl(over_images(zt), over_images(zs)).item(), rel=1e-12)


def test_an_image_of_weight_zero_has_no_share_of_a_class_and_the_others_share_by_weight() -> None:
    z, weight = torch.from_numpy(tables(problem())[0]), torch.tensor([1.0, 0.0, 2.0, 1.0, 0.5, 1.0, 1.0]).double()
    shares = over_images(z, weight).softmax(-1)
    expected = weight * z.T.exp()
    assert torch.allclose(shares, expected / expected.sum(-1, keepdim=True), atol=1e-12)
    assert shares[:, 1].abs().max() == 0


def test_without_columns_it_is_another_method() -> None:
    with pytest.raises(InputError, match="--method kd"):
        Affinity(columns=0.0)
