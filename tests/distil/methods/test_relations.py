"""Correlations of rows: against numpy's, and where a row is constant."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgedistill.distil.methods.relations import one_minus_pearson

EPS = 1e-6


def table(seed: int, rows: int = 5, columns: int = 7) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((rows, columns)))


def test_a_positive_factor_and_a_constant_in_each_row_are_not_seen() -> None:
    p, q = table(0), table(1)
    factor, constant = 0.1 + table(2, columns=1), table(3, columns=1)
    assert torch.allclose(
        one_minus_pearson(p, factor * q + constant, eps=EPS), one_minus_pearson(p, q, eps=EPS), atol=1e-8
    )
    assert one_minus_pearson(p, factor * p + constant, eps=EPS).abs().max() < 1e-8
    assert torch.allclose(one_minus_pearson(p, -factor * p, eps=EPS), torch.full((5,), 2.0).double())


def test_weights_of_entries_are_those_of_a_weighted_correlation() -> None:
    p, q = table(0), table(1)
    weight = torch.tensor([0.5, 2.0, 0.0, 1.0, 3.0, 0.1, 1.0]).double()
    for x, y, found in zip(p, q, one_minus_pearson(p, q, weight, EPS)):
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
