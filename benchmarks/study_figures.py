"""From the rows of the study to its figures: means, paired intervals, tests, and the page that shows them.

A row holds, as hexadecimal bits, which labelled check photos its student got right: everything here is computed from
the rows alone. Intervals are paired bootstraps (10,000 draws): check photos are drawn anew within each set, the same
ones for both sides of a difference, and seeds are averaged over.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

DRAWS = 10_000
NO_SEED = -1  # of the teacher and of the untrained start
FIELDS = (
    "part", "arm", "set", "seed", "size", "image_steps", "trained", "epochs", "seconds", "photos", "accuracy",
    "agreement", "accuracies", "machine", "right",
)  # fmt: skip


@dataclass(frozen=True)
class Line:
    """One run, or the teacher or the untrained start (seed -1: they hang on none)."""

    part: str
    arm: str
    set: str
    seed: int
    size: int
    image_steps: int
    trained: int
    epochs: int
    seconds: float
    photos: int
    accuracy: float
    agreement: float
    accuracies: str
    machine: str
    right: str

    @property
    def key(self) -> tuple[str, str, str, int, int, int]:
        """What makes a run another run."""
        return self.part, self.arm, self.set, self.seed, self.size, self.image_steps

    def hits(self) -> np.ndarray:
        """bool [photos]."""
        return np.unpackbits(np.frombuffer(bytes.fromhex(self.right), np.uint8))[: self.photos].astype(bool)


def packed(right: np.ndarray) -> str:
    """bool [M] as hexadecimal bits."""
    return np.packbits(right).tobytes().hex()


def read(path: Path) -> list[Line]:
    """The rows of a CSV; none where there is no file."""
    if not path.exists():
        return []
    with open(path, encoding="utf-8", newline="") as file:
        return [
            Line(**{name: _KINDS.get(name, str)(text) for name, text in row.items()}) for row in csv.DictReader(file)
        ]


_KINDS: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("seed", "size", "image_steps", "trained", "epochs", "photos"), int),
    **dict.fromkeys(("seconds", "accuracy", "agreement"), float),
}


def append(path: Path, lines: Iterable[Line]) -> None:
    """Whole rows at the end of the file: a run that was killed left none."""
    new = not path.exists()
    with open(path, "a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if new:
            writer.writerow(FIELDS)
        for line in lines:
            writer.writerow([getattr(line, name) for name in FIELDS])


@dataclass(frozen=True)
class Difference:
    """Points of top-1: the mean over sets and seeds, its 95 % interval, and how likely it is by chance (two-sided)."""

    value: float
    low: float
    high: float
    p: float
    sets: dict[str, float]


def difference(one: Sequence[Line], other: Sequence[Line], seed: int = 0) -> Difference:
    """`one` less `other`, over the sets and seeds that both have. A side without seeds (the teacher) is the same for
    every one.

    Raises ValueError where they have no set in common.
    """
    mine, theirs = _shares(_paired(one, other)), _shares(_paired(other, one))
    both = [name for name in mine if name in theirs]
    if not both:
        raise ValueError("no set in common")
    draw = np.random.default_rng(seed)
    drawn, values = np.zeros(DRAWS), {}
    for name in both:
        apart = mine[name] - theirs[name]  # [photos], the mean over seeds of right less right
        values[name] = 100 * float(apart.mean())
        counts = draw.multinomial(len(apart), np.full(len(apart), 1 / len(apart)), size=DRAWS)
        drawn += 100 * (counts @ apart) / len(apart) / len(both)
    low, high = (float(x) for x in np.percentile(drawn, [2.5, 97.5]))
    tail = min((drawn <= 0).mean(), (drawn >= 0).mean())
    return Difference(
        float(np.mean(list(values.values()))), low, high, float(min(1.0, 2 * max(tail, 1 / DRAWS))), values
    )


def _paired(lines: Sequence[Line], other: Sequence[Line]) -> list[Line]:
    """Those of `lines` that have a run of the same set and seed in `other`, or one there or here that hangs on none."""
    have = {(line.set, line.seed) for line in other}
    free = {line.set for line in other if line.seed == NO_SEED}
    return [line for line in lines if line.seed == NO_SEED or line.set in free or (line.set, line.seed) in have]


def _shares(lines: Sequence[Line]) -> dict[str, np.ndarray]:
    """Set -> float [photos], the share of seeds that got each right."""
    by_set: dict[str, list[np.ndarray]] = {}
    for line in lines:
        by_set.setdefault(line.set, []).append(line.hits())
    return {name: np.mean(hits, axis=0) for name, hits in by_set.items()}


def holm(p: dict[str, float]) -> dict[str, float]:
    """Each probability corrected for that so many were looked at (Holm 1979): never below the one before it."""
    found, least = dict[str, float](), 0.0
    for rank, name in enumerate(sorted(p, key=lambda name: p[name])):
        least = max(least, min(1.0, (len(p) - rank) * p[name]))
        found[name] = least
    return found
