"""How different prompts, or the images made of them, are in the teacher's space, and whether they show their class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Diversity:
    """Three figures of N features. `cosine`: the mean over all pairs inside a class, then over the classes that have a
    pair; lower is more diverse, None where no class has two. `rank`: the effective rank of what differs inside
    classes. `agreement`: the share whose teacher label is the prompt's class."""

    cosine: float | None
    rank: float
    agreement: float

    def __str__(self) -> str:
        cosine = "no two of a class" if self.cosine is None else f"cosine inside a class {self.cosine:.3f}"
        return f"{cosine}, effective rank {self.rank:.1f}, {100 * self.agreement:.0f} % taken for their class"


def diversity(features: np.ndarray, classes: np.ndarray, vectors: np.ndarray) -> Diversity:
    """Of features [N, D], unit rows, N at least 1; classes int64 [N]; vectors [C, D], the teacher's class vectors."""
    features = features.astype(np.float64)
    return Diversity(
        cosine=mean_pairwise_cosine(features, classes),
        rank=effective_rank(features - class_means(features, classes)[classes]),
        agreement=float(((features @ vectors.T).argmax(axis=1) == classes).mean()),
    )


def mean_pairwise_cosine(features: np.ndarray, classes: np.ndarray) -> float | None:
    """Without a matrix of pairs: n unit vectors with the sum s have Σ_{i≠j} cos = |s|² − n."""
    count = np.bincount(classes)
    squared = (np.square(class_means(features, classes)).sum(axis=1)) * count**2
    pairs = count * (count - 1)
    found = (squared[pairs > 0] - count[pairs > 0]) / pairs[pairs > 0]
    return float(found.mean()) if len(found) else None


def effective_rank(rows: np.ndarray) -> float:
    """exp of the entropy of the singular values' shares (Roy and Vetterli, 2007); 0 where all of [N, D] is zero."""
    values = np.linalg.svd(rows, compute_uv=False)
    values = values[values > 1e-7 * max(1.0, values.max(initial=0.0))]
    shares = values / values.sum()
    return float(np.exp(-(shares * np.log(shares)).sum())) if len(values) else 0.0


def class_means(features: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """[largest class + 1, D]; zeros for a class without a row."""
    count = np.bincount(classes)
    sums = np.zeros((len(count), features.shape[1]))
    np.add.at(sums, classes, features)
    return sums / np.maximum(count, 1)[:, None]
