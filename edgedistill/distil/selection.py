"""Which of the unlabelled photos train: a score and a rule, from the teacher's features alone, never from a label.

Photos that were gathered without care hold much that is on no list of classes, and many of one class for few of
another. Each photo gets a pseudo-class, the teacher's best one, and a score; a rule says which may train, and where
more are left than were asked for, the classes take turns with their best (`in_turn`).

| `--select-by` | score of a photo | rule |
|---|---|---|
| confidence | the teacher's highest probability | none: the best of every class, up to an equal quota |
| threshold | the same | above a threshold of its class, and the 20 best of every class |
| prototype | confident, near the middle of its class, not alone | none |
| known | probability of all classes beside generic nouns | above 0.5: rather on the list than off it |
| random | the teacher's highest probability | drawn by the seed: what the others are compared with |

Selecting unlabelled data in place of making it is EIKD's idea (arXiv 2302.08771). Its formulas are not known to us:
all of these are ours. `threshold` has the shape of FlexMatch (arXiv 2110.08263), without its curve and its warm-up.
`prototype` is nearest to the prototype sampling that arXiv 2307.16601 names.

Everywhere: features are [N, D], float16 or float32, of any length; they are made unit here. They are read in pieces and
may lie on disk. Rows with the same score keep their order, which for a store is that of content hashes. Reordering the
rows reorders the choice and changes nothing else, `random` and such ties aside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..choices import SelectBy
from ..teacher.unit import unit_float32

if TYPE_CHECKING:
    from ..teacher.store import FeatureRows

TAU = 0.6  # τ_0 of `threshold`: from here on the teacher is taken to be sure
FLOOR = 20  # of `threshold`: photos that every class keeps, as far as it has them
ON_THE_LIST = 0.5  # of `known`; ours

# Of `prototype`, all ours.
PROTOTYPES = 4  # of a class, at most
ROWS_A_PROTOTYPE = 16  # at least
ROUNDS = 25  # of k-means, at most
NEIGHBOUR = 5  # whose distance says how alone a photo is
REFERENCES = 4096  # photos of a class that neighbours are looked for among, at most

_PIECE = 4096

KEPT, UNSURE, OFF_THE_LIST, OUTSCORED, NOT_DRAWN = range(5)
REASONS = (
    "kept",
    "below the threshold of its class",
    "rather something off the list",
    "others score better",
    "not drawn",
)
"""In words, why a row was kept or dropped; `Selection.why` holds their numbers."""


@dataclass(frozen=True, eq=False)
class Selection:
    """What was chosen of N rows.

    score         float64 [N], higher is better
    pseudo_class  int64 [N], the class that the teacher thinks is most likely
    why           uint8 [N], index into REASONS
    """

    score: np.ndarray
    pseudo_class: np.ndarray
    why: np.ndarray

    @property
    def rows(self) -> np.ndarray:
        """int64, ascending: the rows that are kept."""
        return np.flatnonzero(self.why == KEPT)

    @property
    def dropped(self) -> dict[str, int]:
        """Reason -> how many rows were dropped for it."""
        counts = np.bincount(self.why, minlength=len(REASONS))
        return {REASONS[code]: int(counts[code]) for code in range(len(REASONS)) if code != KEPT and counts[code]}

    def counts(self, classes: int) -> np.ndarray:
        """int64 [C, 2]: rows of each pseudo-class, kept and dropped."""
        kept = np.bincount(self.pseudo_class[self.rows], minlength=classes)
        return np.stack([kept, np.bincount(self.pseudo_class, minlength=classes) - kept], axis=1)


def wanted(amount: float, rows: int) -> int:
    """How many of `rows` are asked for: a share up to 1, else a number; never more than there are."""
    return min(rows, round(amount * rows) if amount <= 1 else int(amount))


def select(
    features: FeatureRows,
    vectors: np.ndarray,
    scale: float,
    by: SelectBy,
    limit: int,
    *,
    seed: int = 0,
    nouns: np.ndarray | None = None,
) -> Selection:
    """At most `limit` of the rows.

    features: [N, D], the mean view of each photo. vectors: float32 [C, D] class vectors, and nouns: [K, D] made in the
    same way (only `known` reads them). seed: of `random`, and of where k-means begins.
    """
    why = np.full(len(features), KEPT, np.uint8)
    if by == "known":
        if nouns is None:
            raise ValueError("known compares the classes with nouns and needs their vectors")
        score, pseudo_class = known(features, vectors, nouns, scale)
        why[score <= ON_THE_LIST] = OFF_THE_LIST
    else:
        score, pseudo_class = confidence(features, vectors, scale)
    if by == "threshold":
        why[~above_thresholds(score, pseudo_class, len(vectors))] = UNSURE
    if by == "prototype":
        score = prototype_scores(features, score, pseudo_class, seed)
    if by == "random":
        why[:] = NOT_DRAWN
        why[np.random.default_rng(seed).permutation(len(why))[:limit]] = KEPT
        return Selection(score, pseudo_class, why)
    candidates = np.flatnonzero(why == KEPT)
    why[candidates[in_turn(score[candidates], pseudo_class[candidates])[limit:]]] = OUTSCORED
    return Selection(score, pseudo_class, why)


def confidence(features: FeatureRows, vectors: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """(max_c q_ic, argmax_c q_ic) with q = softmax(scale · u · Wᵀ): float64 [N], int64 [N]."""
    found = [(q.max(axis=1), q.argmax(axis=1)) for q in _probabilities(features, vectors, scale)]
    return _joined(found)


def known(features: FeatureRows, vectors: np.ndarray, nouns: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """(Σ_c q_ic over the C classes, the best of these classes), with q the softmax over classes and nouns together.

    float64 [N], int64 [N]. A photo of nothing on the list puts its mass on the nouns.
    """
    classes = len(vectors)
    columns = np.concatenate([vectors, nouns])
    parts = (q[:, :classes] for q in _probabilities(features, columns, scale))
    return _joined([(q.sum(axis=1), q.argmax(axis=1)) for q in parts])


def adaptive_thresholds(confidence: np.ndarray, pseudo_class: np.ndarray, classes: int) -> np.ndarray:
    """τ_c = τ_0 · σ_c / max σ, float64 [C]: σ_c is the share of photos that the teacher surely (above τ_0) calls c.

    A class that the teacher is seldom sure of gets a lower threshold. Where it is sure of no photo at all, each is τ_0.
    """
    sure = np.bincount(pseudo_class[confidence > TAU], minlength=classes)
    top = sure.max()
    thresholds: np.ndarray = TAU * (sure / top) if top else np.full(classes, TAU)
    return thresholds


def above_thresholds(confidence: np.ndarray, pseudo_class: np.ndarray, classes: int) -> np.ndarray:
    """bool [N]: above the threshold of its class, or one of the FLOOR most confident of it."""
    thresholds = adaptive_thresholds(confidence, pseudo_class, classes)
    above: np.ndarray = (confidence > thresholds[pseudo_class]) | (_rank(confidence, pseudo_class) < FLOOR)
    return above


def in_turn(score: np.ndarray, pseudo_class: np.ndarray) -> np.ndarray:
    """int64 [N]: all rows, the best of every class first, then the second best of every class, and so on; within a
    round by score. Its first n rows are n rows with class counts as equal as the classes allow."""
    return np.lexsort((-score, _rank(score, pseudo_class)))


def prototype_scores(
    features: FeatureRows, confidence: np.ndarray, pseudo_class: np.ndarray, seed: int = 0
) -> np.ndarray:
    """0.5·confidence + 0.5·cosine to the nearest prototype − 0.5·distance to the k-th neighbour, float64 [N].

    Prototypes are the unit means that spherical k-means finds among the photos of one pseudo-class; neighbours are of
    the same pseudo-class, distances those of unit vectors, 0 .. 2. A photo that has no neighbour is at distance 0. The
    features of one class at a time are in memory, in float16.
    """
    direction = np.random.default_rng(seed).standard_normal((features[:1].shape[-1],)).astype(np.float32)
    score: np.ndarray = 0.5 * np.asarray(confidence, np.float64)
    for of_class in np.unique(pseudo_class):
        rows = np.flatnonzero(pseudo_class == of_class)
        near, alone = _typical(_gathered(features, rows), direction)
        score[rows] += 0.5 * near - 0.5 * alone
    return score


def _typical(u: np.ndarray, direction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(cosine to the nearest prototype, distance to the k-th neighbour), float64 [n] each, of one class's rows [n, D].

    Where k-means begins and who the references are follows from the rows' places along `direction` and not from their
    order: the first prototypes are the means of equal parts along it, the references lie evenly along it.
    """
    count = len(u)
    along = np.argsort(np.concatenate([part @ direction for part in _pieces(u)]), kind="stable")
    groups = max(1, min(PROTOTYPES, count // ROWS_A_PROTOTYPE))
    nearest = np.empty(count, np.int64)
    nearest[along] = np.arange(count) * groups // count
    centres = _centres(u, nearest, np.zeros((groups, u.shape[1]), np.float32))
    for _ in range(ROUNDS):
        before = nearest
        nearest = np.concatenate([(part @ centres.T).argmax(axis=1) for part in _pieces(u)])
        if (nearest == before).all():
            break
        centres = _centres(u, nearest, centres)
    near = np.concatenate([(part @ centres.T).max(axis=1) for part in _pieces(u)]).astype(np.float64)
    return near, _alone(u, along[np.linspace(0, count - 1, min(count, REFERENCES)).astype(np.int64)])


def _centres(u: np.ndarray, nearest: np.ndarray, before: np.ndarray) -> np.ndarray:
    """The unit means float32 [k, D] of the rows that belong to each; one that no row belongs to stays as before."""
    sums = np.zeros(before.shape, np.float64)
    for begin, part in zip(range(0, len(u), _PIECE), _pieces(u)):
        belongs = nearest[begin : begin + len(part), None] == np.arange(len(before))
        sums += belongs.T.astype(np.float32) @ part
    lengths = np.linalg.norm(sums, axis=1, keepdims=True)
    return np.where(lengths > 0, sums / np.where(lengths > 0, lengths, 1), before).astype(np.float32)


def _alone(u: np.ndarray, references: np.ndarray) -> np.ndarray:
    """float64 [n]: the distance of each row to its k-th neighbour among the references (row numbers), itself aside."""
    k = min(NEIGHBOUR, len(references) - 1)
    if k == 0:
        return np.zeros(len(u))
    others = unit_float32(u[references])
    column = np.full(len(u), -1)
    column[references] = np.arange(len(references))
    found = []
    for begin, part in zip(range(0, len(u), _PIECE), _pieces(u)):
        cosines = part @ others.T
        own = column[begin : begin + len(part)]
        itself = np.flatnonzero(own >= 0)
        cosines[itself, own[itself]] = -np.inf
        found.append(np.partition(cosines, -k, axis=1)[:, -k])
    return np.sqrt(np.maximum(0, 2 - 2 * np.concatenate(found).astype(np.float64)))


def _rank(score: np.ndarray, pseudo_class: np.ndarray) -> np.ndarray:
    """int64 [N]: how many rows of the same class come before each by score."""
    order = np.lexsort((-score, pseudo_class))
    ordered = pseudo_class[order]
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return rank


def _probabilities(features: FeatureRows, vectors: np.ndarray, scale: float) -> Iterator[np.ndarray]:
    """softmax(scale · u · Wᵀ), float64 [n, columns], of one piece of rows after the other: in float32 a sure teacher's
    probabilities would all be 1, and none the best."""
    columns = scale * vectors.astype(np.float64).T
    for u in _pieces(features):
        logits = u.astype(np.float64) @ columns
        shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
        yield shifted / shifted.sum(axis=1, keepdims=True)


def _joined(found: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    scores, classes = zip(*found)
    return np.concatenate(scores), np.concatenate(classes).astype(np.int64)


def _gathered(features: FeatureRows, rows: np.ndarray) -> np.ndarray:
    """float16 [n, D]: these rows, unit."""
    gathered = np.empty((len(rows), features[:1].shape[-1]), np.float16)
    for begin in range(0, len(rows), _PIECE):
        gathered[begin : begin + _PIECE] = unit_float32(features[rows[begin : begin + _PIECE]])
    return gathered


def _pieces(features: FeatureRows) -> Iterator[np.ndarray]:
    """float32 [n, D], unit, piece after piece."""
    for begin in range(0, len(features), _PIECE):
        yield unit_float32(features[begin : begin + _PIECE])
