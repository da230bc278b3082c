"""Relations that methods compare: correlations of the rows of two blocks, with entries that may count unequally."""

from __future__ import annotations

import torch
from torch import Tensor


def one_minus_pearson(x: Tensor, y: Tensor, entries: Tensor | None = None, eps: float = 1e-4) -> Tensor:
    """[R,n], [R,n] -> [R]: 1 − Pearson correlation of each row of x and y, whose entries `entries` [n] or [R,n] weighs.

    Half the squared distance of the standardised rows, which is the same number, but exactly 0 at equality and without
    a gradient there, and finite for a constant row: two constant rows agree (0), a constant and another do not (1/2).
    `eps`: a row whose distance from its mean, as a vector, is below it counts as constant.
    """
    return 0.5 * (_standard(x, entries, eps) - _standard(y, entries, eps)).square().sum(-1)


def mean(x: Tensor, entries: Tensor | None) -> Tensor:
    """[.,n] -> [.,1], weighted by `entries`."""
    return x.mean(-1, keepdim=True) if entries is None else (_shares(x, entries) * x).sum(-1, keepdim=True)


def _standard(x: Tensor, entries: Tensor | None, eps: float) -> Tensor:
    """Rows with weighted mean 0 and, as vectors, length 1; the entry of a weight 0 is 0."""
    centred = x - mean(x, entries)
    if entries is not None:
        centred = centred * (_shares(x, entries) * x.shape[-1]).sqrt()  # so that a sum over entries is the weighted one
    return centred / (centred.square().sum(-1, keepdim=True) + eps**2).sqrt()


def _shares(x: Tensor, entries: Tensor) -> Tensor:
    """What each entry of a row counts of the whole row."""
    weight = entries.to(x.dtype)
    return weight / weight.sum(-1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)
