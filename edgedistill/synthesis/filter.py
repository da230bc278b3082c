"""Which images that were made from prompts stay: what the labelling teacher recognises, is sure of, and has not seen.

A pure function of that teacher's features. Rejected for the first of: its class is not among the teacher's best three;
it all but repeats a better image of its class; the teacher is not sure of it. Sure images alone would teach a student
that every image is sure, so that the best of the unsure ones come back until a fifth of a class is hard to tell. The
limits are ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

RANK = 3  # the prompt's class is among this many of the teacher's best
CONFIDENCE = 2.0  # the least p_c, in units of 1 / C; never more than one half
DUPLICATE = 0.97  # the cosine above which an image repeats another
MARGIN = 0.5  # p of the best class minus p of the next: below this the teacher hesitates
HESITANT = 0.2  # the least share of such images in a class, where there are any

Reason = Literal["kept", "kept: hard to tell", "another class", "near-duplicate", "unsure", "no image"]
"""The last is for whoever makes images (stages.py): one that an engine had none for."""


@dataclass(frozen=True, eq=False)
class Filtered:
    """Of N images: which stay, why (a Reason each), how much each counts (p_c, 0 for the rejected), and of C classes
    the share of their images that stayed (0 for a class without any)."""

    kept: np.ndarray
    reasons: tuple[Reason, ...]
    weights: np.ndarray
    yields: np.ndarray


def filtered(features: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> Filtered:
    """Which of N images stay.

    features       float [N,D], unit rows, and
    probabilities  [N,C], both of the labelling teacher
    classes        int64 [N], the prompts'

    Raises ValueError where these do not fit each other.
    """
    count, n_classes = probabilities.shape
    if features.shape[:1] != (count,) or classes.shape != (count,):
        raise ValueError(f"features {features.shape}, probabilities {probabilities.shape} and classes {classes.shape}")
    own = probabilities[np.arange(count), classes]
    reasons = np.full(count, "kept", object)
    reasons[own < min(CONFIDENCE / n_classes, 0.5)] = "unsure"
    right = (probabilities > own[:, None]).sum(axis=1) < RANK
    reasons[~right] = "another class"
    for label in np.unique(classes):
        rows = np.flatnonzero((classes == label) & right)
        rows = rows[np.argsort(-own[rows], kind="stable")]
        reasons[rows[_repeats(features[rows])]] = "near-duplicate"
        reasons[_taken_back(rows, reasons, _margin(probabilities[rows]))] = "kept: hard to tell"
    kept = np.array([reason.startswith("kept") for reason in reasons], bool)
    return Filtered(kept, tuple(reasons), (own * kept).astype(np.float32), _yields(kept, classes, n_classes))


def _repeats(features: np.ndarray) -> np.ndarray:
    """bool [n]: rows that are closer than DUPLICATE to one before them that stays; greedy, the first always stays."""
    close = features @ features.T > DUPLICATE
    repeats = np.zeros(len(features), bool)
    for row in range(1, len(features)):
        repeats[row] = (close[row, :row] & ~repeats[:row]).any()
    return repeats


def _taken_back(rows: np.ndarray, reasons: np.ndarray, margin: np.ndarray) -> np.ndarray:
    """The surest of the unsure `rows`, which are in order of p_c: as many as bring HESITANT of the class's images."""
    kept = reasons[rows] == "kept"
    hesitant = int((margin[kept] < MARGIN).sum())
    # With x more, hesitant + x is to be HESITANT · (kept + x).
    missing = math.ceil(max(0.0, HESITANT * kept.sum() - hesitant) / (1 - HESITANT))
    return rows[(reasons[rows] == "unsure") & (margin < MARGIN)][:missing]


def _margin(probabilities: np.ndarray) -> np.ndarray:
    """[n]: the best class's probability minus the next one's."""
    best = np.sort(probabilities, axis=1)
    return best[:, -1] - best[:, -2]


def _yields(kept: np.ndarray, classes: np.ndarray, n_classes: int) -> np.ndarray:
    made = np.bincount(classes, minlength=n_classes)
    return np.bincount(classes[kept], minlength=n_classes) / np.maximum(made, 1)
