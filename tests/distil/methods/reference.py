"""Slow plain-numpy references of every loss, written from the formulas with loops, in float64; and tiny inputs."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from edgedistill.distil.methods.base import StudentOut, TeacherOut


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def softmax(row: np.ndarray) -> list[float]:
    top = max(row)
    terms = [math.exp(value - top) for value in row]
    return [term / sum(terms) for term in terms]


def kl_rows(target: np.ndarray, student: np.ndarray, tau: float = 1.0) -> float:
    """(τ²/B)·Σ_i Σ_c qt·(log qt − log qs)."""
    total = 0.0
    for zt, zs in zip(target, student):
        qt, qs = softmax(zt / tau), softmax(zs / tau)
        total += sum(p * (math.log(p) - math.log(q)) for p, q in zip(qt, qs))
    return tau**2 * total / len(target)


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1])


def mean_one_minus_pearson(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.mean([1 - pearson(a, b) for a, b in zip(x, y)]))


def without_diagonal(square: np.ndarray) -> np.ndarray:
    n = len(square)
    return np.array([[square[i, j] for j in range(n) if j != i] for i in range(n)])


def edge(kind: str, teacher: np.ndarray, student: np.ndarray, tau: float, omega: float, symmetric: bool) -> float:
    if kind == "mse":
        return omega * float(np.mean((teacher - student) ** 2))
    if kind == "row":
        return kl_rows(teacher / tau, student / tau)
    if kind == "col":
        if symmetric:
            return kl_rows(teacher / tau, student / tau)
        return kl_rows(teacher.T / tau, student.T / tau)
    rows = mean_one_minus_pearson(teacher, student)
    if symmetric:
        return rows
    columns = mean_one_minus_pearson(teacher.T, student.T)
    return columns if teacher.shape[1] == 2 else rows + columns


def cross_entropy(z_teacher: np.ndarray, z_student: np.ndarray, threshold: float) -> float:
    total = 0.0
    for zt, zs in zip(z_teacher, z_student):
        probabilities = softmax(zt)
        best = int(np.argmax(probabilities))
        if probabilities[best] > threshold:
            total -= math.log(softmax(zs)[best])
    return total / len(z_teacher)


def problem(seed: int = 0, batch: int = 7, classes: int = 5, prompts: int = 3, dim: int = 16) -> SimpleNamespace:
    """A text bank, class vectors with uneven prompt weights, and one batch of teacher and student features.

    It is what a method prepares itself from (`Material`), too: `store` has the teacher's features of this very batch.
    """
    draw = np.random.default_rng(seed)
    vectors = unit(draw.normal(size=(classes, prompts, dim)) + 2 * draw.normal(size=(classes, 1, dim)))
    vectors = vectors.astype(np.float32)
    weights = np.array(softmax(draw.normal(size=prompts)))
    text = np.einsum("p,cpd->cd", weights, vectors).astype(np.float32)
    u, h = unit(draw.normal(size=(batch, dim))), 3 * draw.normal(size=(batch, dim))
    return SimpleNamespace(
        bank=SimpleNamespace(vectors=vectors, scale=20.0),
        classes=SimpleNamespace(text=text, baked=text, prompt_weights=weights, scale=20.0),
        u=u,
        u_mean=unit(u + 0.3 * draw.normal(size=(batch, dim))),
        store=Features(u),
        rows=np.arange(batch),
        width=dim,
        mean_feature=None,
        h=h,
    )


class Features:
    """A store of one view an image, as far as `prepare` looks at it."""

    def __init__(self, u: np.ndarray) -> None:
        self.u, self.facts = u, None

    def __len__(self) -> int:
        return len(self.u)

    def centre(self, rows: np.ndarray) -> np.ndarray:
        return self.u[rows].astype(np.float32)

    def mean_feature(self, rows: np.ndarray) -> np.ndarray:
        return np.asarray(self.u[rows].mean(axis=0), np.float32)

    def all_views(self, rows: np.ndarray) -> np.ndarray:
        return self.centre(rows)[:, None]


def loss_of(method: Any, p: SimpleNamespace, h: torch.Tensor | None = None, u: torch.Tensor | None = None) -> Any:
    """The method's parts on the problem, in float64."""
    state = method.prepare(p)
    h = torch.from_numpy(p.h) if h is None else h
    u = torch.from_numpy(p.u) if u is None else u
    return method.loss(student_out(h), TeacherOut(u=u, u_mean=torch.from_numpy(p.u_mean)), state)


def student_out(h: torch.Tensor) -> StudentOut:
    nothing = torch.zeros(len(h), dtype=torch.int64)
    return StudentOut.of(f=h, h=h, row=nothing, view=nothing)
