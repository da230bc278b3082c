"""EIKD: explicit and implicit knowledge from selected unlabelled images (arXiv 2302.08771). Our reading of it.

Only the paper's abstract is public to us: unlabelled images are selected instead of made; classes are dropped against
the noise of a shifted domain; features are distilled explicitly, structured relations implicitly; convergence is quick.
Formulas and weights are our choices. Which images train is the affair of `--select`; here is the loss on them:

    L = KL_drop(qt ‖ qs) + λ_e·‖g − u‖² + λ_i·‖R(u) − R(g)‖²_F / B²         R(x) = x·xᵀ of unit rows, diagonal dropped

Class-dropping: the KL is over some classes, both sides renormalised, so that what the teacher says of classes that are
not there is not learned. It needs 10 classes: with fewer, none is dropped, which is said. Its forms:

    top-k       each image keeps its most probable classes: as many as hold `mass`, but at least `least`
    confidence  images whose best class is below `sure` keep their `least` best, the others all
    class       classes that are the best of fewer than `few` images of the pool are dropped for all
    random      a share `share` of the classes, drawn anew every step; an image's two best always stay
    none        plain KL

The implicit part: `gram` as above; `rkd`, distances (over their mean) and angles of pairs and triples (arXiv
1904.05068), B³ of work; `row`, KL between rows of R at τ = 0.1, which tolerates a student space that is turned.

Cost over kd: B²·D, with `rkd` B³·D.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...errors import InputError
from .base import (
    MASKED,
    Material,
    Method,
    State,
    StudentOut,
    TeacherOut,
    cosine_distance,
    in_float32,
    kl,
    mean_of_rows,
    summed,
)

log = logging.getLogger(__name__)

LEAST_CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class EIKDState(State):
    """`kept` bool [C]: the classes that the softmax is over, for every image alike (class, random)."""

    moving: ClassVar[tuple[str, ...]] = ("kept",)
    kept: Tensor


@dataclass(frozen=True, kw_only=True)
class EIKD(Method):
    """Options of EIKD; the module docstring has the formulas. λ_e and λ_i may be 0."""

    name: ClassVar[str] = "eikd"

    drop: Literal["top-k", "confidence", "class", "random", "none"] = "top-k"
    explicit: float = 1.0
    implicit: float = 1.0
    relation: Literal["gram", "rkd", "row"] = "gram"
    least: int = 5
    mass: float = 0.95
    sure: float = 0.5
    few: int = 5
    share: float = 0.2
    tau: float = 1.0

    def check(self) -> None:
        self.not_negative("explicit", "implicit", "few")
        self.shares("mass", "sure", "share")
        self.above_zero("tau", hint="1 is the default")
        if self.least < 2:
            raise InputError(f"eikd: least is {self.least}", "One class has nothing to tell: 2 or more.")

    def prepare(self, material: Material) -> EIKDState:
        """Which classes are dropped for all. Warns of a list too short to drop from."""
        count = len(material.classes.text)
        kept = np.ones(count, dtype=bool)
        if self.drop != "none" and count < LEAST_CLASSES:
            log.info("eikd drops no class of %d: that needs %d", count, LEAST_CLASSES)
        elif self.drop == "class":
            best = (material.store.centre(material.rows) @ material.classes.text.T).argmax(axis=1)
            found = np.bincount(best, minlength=count)
            kept = (found >= self.few) | (found >= np.sort(found)[-2])  # the two commonest always
            log.info("eikd drops %d classes that are the best of fewer than %d photos", (~kept).sum(), self.few)
        return EIKDState.of(material.classes, kept=torch.from_numpy(kept))

    def loss(self, student: StudentOut, teacher: TeacherOut, state: EIKDState) -> dict[str, Tensor]:
        """Parts `kl`, `explicit`, `implicit` (those with a weight), each already weighted, and their sum."""
        u, g, weight = in_float32(teacher.u), in_float32(student.g), teacher.weight
        zt, zs = state.logits(u), state.logits(g)
        gone = self._gone(zt, state.kept)
        parts = {"kl": kl(zt.masked_fill(gone, MASKED), zs.masked_fill(gone, MASKED), self.tau, weight)}
        if self.explicit:
            parts["explicit"] = 2 * self.explicit * cosine_distance(u, g, weight)  # ‖g − u‖² of unit rows
        if self.implicit:
            parts["implicit"] = self.implicit * RELATIONS[self.relation](u, g, weight)
        return summed(parts)

    def advance(self, student: StudentOut, teacher: TeacherOut, state: EIKDState) -> None:
        if self.drop == "random" and len(state.kept) >= LEAST_CLASSES:
            state.kept.copy_(torch.rand(state.kept.shape, device=state.kept.device) >= self.share)

    def _gone(self, zt: Tensor, kept: Tensor) -> Tensor:
        """bool [B,C]: the classes that do not count for each image."""
        if zt.shape[1] < LEAST_CLASSES or self.drop == "none":
            return torch.zeros_like(zt, dtype=torch.bool)
        if self.drop == "class":
            return (~kept).expand_as(zt)
        rank = zt.argsort(-1, descending=True).argsort(-1)
        if self.drop == "random":
            return ~kept & (rank >= 2)
        q = (zt / self.tau).softmax(-1)
        if self.drop == "confidence":
            return (q.amax(-1, keepdim=True) < self.sure) & (rank >= self.least)
        ordered = q.sort(-1, descending=True).values
        before = (ordered.cumsum(-1) - ordered).gather(-1, rank)  # the mass of the classes in front of each
        return (before >= self.mass) & (rank >= self.least)


def gram(u: Tensor, g: Tensor, weight: Tensor | None) -> Tensor:
    """‖R(u) − R(g)‖²_F / B² of unit rows [B,D] without the diagonal; weighted, Σ_ij w_i·w_j·(·)²_ij / (Σ w)²."""
    return _mean_of_pairs((_off(u @ u.T) - _off(g @ g.T)).square(), weight)


def rkd(u: Tensor, g: Tensor, weight: Tensor | None) -> Tensor:
    """Huber losses of distances over their mean (weight 1) and of the angles in every triple (weight 2)."""
    distances = [_distances(x, weight) for x in (u, g)]
    apart = _mean_of_pairs(F.huber_loss(distances[1], distances[0], reduction="none"), weight)
    angles = [_angles(x) for x in (u, g)]
    turned = F.huber_loss(angles[1], angles[0], reduction="none")  # [j,i,k]: at j, between i and k
    if weight is None:
        return apart + 2 * turned.mean()
    w = weight.to(u.dtype)
    share = w / w.sum().clamp_min(torch.finfo(u.dtype).tiny)
    return apart + 2 * torch.einsum("j,i,k,jik->", share, share, share, turned)


def row(u: Tensor, g: Tensor, weight: Tensor | None, tau: float = 0.1) -> Tensor:
    """KL between the rows of R at τ, the image itself left out."""
    hidden = torch.eye(len(u), dtype=torch.bool, device=u.device)
    if weight is not None:
        hidden = hidden | (weight == 0)
    target, given = ((x @ x.T / tau).masked_fill(hidden, MASKED) for x in (u, g))
    return kl(target, given, weight=weight)


RELATIONS = {"gram": gram, "rkd": rkd, "row": row}


def _off(square: Tensor) -> Tensor:
    return square - torch.diag_embed(square.diagonal())


def _mean_of_pairs(each: Tensor, weight: Tensor | None) -> Tensor:
    return mean_of_rows(each.mean(-1) if weight is None else _weighted(each, weight), weight)


def _weighted(each: Tensor, weight: Tensor) -> Tensor:
    w = weight.to(each.dtype)
    return (each * w).sum(-1) / w.sum().clamp_min(torch.finfo(each.dtype).tiny)


def _distances(x: Tensor, weight: Tensor | None) -> Tensor:
    """[B,B] Euclidean distances of unit rows over their mean, pairs weighted; 0 on the diagonal, without gradient."""
    squared = _off((2 - 2 * x @ x.T).clamp_min(0))
    found = torch.where(squared > 1e-12, squared.clamp_min(1e-12).sqrt(), squared)
    mean = _mean_of_pairs(found, weight)
    return found / mean.clamp_min(1e-6)


def _angles(x: Tensor) -> Tensor:
    """[B,B,B]: at j, the cosine between the ways to i and to k."""
    way = F.normalize(x[None] - x[:, None], dim=-1, eps=1e-6)  # [j,i,D]
    return way @ way.transpose(1, 2)
