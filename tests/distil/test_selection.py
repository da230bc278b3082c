"""Photos are chosen by what the teacher sees and nothing else: quotas, floors, thresholds, and the same again."""

from __future__ import annotations

import inspect
import math
from typing import get_args

import numpy as np
import pytest

from edgedistill.choices import SELECT_BY, SelectBy
from edgedistill.distil import selection
from edgedistill.distil.selection import FLOOR, KEPT, OFF_THE_LIST, OUTSCORED, REASONS, TAU, UNSURE, select

SCALE = 20.0
RULES = get_args(SelectBy)
DETERMINED = tuple(rule for rule in RULES if rule != "random")


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def a_pool(
    rows: int = 300, classes: int = 4, dim: int = 24, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(features [N, D], class vectors [C, D], nouns [7, D]): rows lie about classes, the last ones more rarely, and a
    fifth of them about nouns."""
    random = np.random.default_rng(seed)
    vectors, nouns = unit(random.normal(size=(classes, dim))), unit(random.normal(size=(7, dim)))
    shown = np.minimum(random.geometric(0.4, rows) - 1, classes - 1)
    middle = np.where(random.random((rows, 1)) < 0.2, nouns[random.integers(0, 7, rows)], vectors[shown])
    features = unit(middle + random.uniform(0.05, 0.35, (rows, 1)) * random.normal(size=(rows, dim)))
    return features.astype(np.float32), vectors.astype(np.float32), nouns.astype(np.float32)


def softmax_rows(features: np.ndarray, vectors: np.ndarray) -> list[list[float]]:
    found = []
    for u in features.astype(np.float64):
        terms = [math.exp(SCALE * float(np.dot(u, w))) for w in vectors.astype(np.float64)]
        found.append([term / sum(terms) for term in terms])
    return found


def chosen(by: SelectBy, features: np.ndarray, limit: int, **more: object) -> selection.Selection:
    _, vectors, nouns = a_pool()
    return select(features, vectors, SCALE, by, limit, nouns=nouns, **more)  # type: ignore[arg-type]


def test_the_score_is_the_teachers_best_probability_and_the_class_the_one_it_belongs_to() -> None:
    features, vectors, _ = a_pool(40)
    score, pseudo_class = selection.confidence(features, vectors, SCALE)
    expected = softmax_rows(features, vectors)
    np.testing.assert_allclose(score, [max(row) for row in expected], rtol=1e-6)
    assert pseudo_class.tolist() == [row.index(max(row)) for row in expected]


def test_known_is_the_mass_of_the_classes_beside_the_nouns() -> None:
    features, vectors, nouns = a_pool(40)
    score, pseudo_class = selection.known(features, vectors, nouns, SCALE)
    expected = softmax_rows(features, np.concatenate([vectors, nouns]))
    np.testing.assert_allclose(score, [sum(row[:4]) for row in expected], rtol=1e-6)
    assert pseudo_class.tolist() == [row.index(max(row[:4])) for row in expected]


def test_known_drops_photos_of_nothing_on_the_list_and_keeps_those_of_a_class() -> None:
    _, vectors, nouns = a_pool()
    found = select(np.concatenate([vectors, nouns]), vectors, SCALE, "known", 11, nouns=nouns)
    assert found.rows.tolist() == [0, 1, 2, 3]
    assert found.dropped == {REASONS[OFF_THE_LIST]: 7}
    with pytest.raises(ValueError, match="needs their vectors"):
        select(vectors, vectors, SCALE, "known", 4)


def test_thresholds_follow_the_share_of_photos_that_the_teacher_is_sure_of() -> None:
    confidence = np.array([0.9, 0.9, 0.9, 0.7, 0.5, 0.9, 0.4])
    thresholds = selection.adaptive_thresholds(confidence, np.array([0, 0, 0, 0, 0, 1, 1]), 3)
    np.testing.assert_allclose(thresholds, [TAU, TAU / 4, 0.0])


def test_classes_that_the_teacher_is_equally_sure_of_share_one_threshold() -> None:
    random = np.random.default_rng(1)
    unsure = random.uniform(0.3, 0.55, (3, 200))
    confidence = np.concatenate([unsure, random.uniform(0.61, 1, (3, 90))], axis=1)  # 90 sure ones of each class
    pseudo_class = np.repeat(np.arange(3), 290)
    assert selection.adaptive_thresholds(confidence.ravel(), pseudo_class, 3).tolist() == [TAU] * 3
    kept = selection.above_thresholds(confidence.ravel(), pseudo_class, 3)
    assert (kept == (confidence.ravel() > TAU)).all()


def test_where_the_teacher_is_sure_of_nothing_every_class_keeps_its_floor_and_no_more() -> None:
    confidence = np.random.default_rng(2).uniform(0.26, TAU, 120)
    pseudo_class = np.repeat([0, 1, 3], [80, 30, 10])  # none is of class 2
    kept = selection.above_thresholds(confidence, pseudo_class, 4)
    assert np.bincount(pseudo_class[kept], minlength=4).tolist() == [FLOOR, FLOOR, 0, 10]
    for of in (0, 1):
        mine = pseudo_class == of
        assert confidence[mine & kept].min() > confidence[mine & ~kept].max()


@pytest.mark.parametrize(
    ("counts", "limit", "left"),
    [
        ([100, 100, 100], 30, [10, 10, 10]),
        ([100, 4, 50], 44, [20, 4, 20]),
        ([100, 0, 2], 50, [48, 0, 2]),
        ([5, 5, 5], 15, [5, 5, 5]),
    ],
)
def test_classes_take_turns_until_one_has_no_more(counts: list[int], limit: int, left: list[int]) -> None:
    pseudo_class = np.repeat(np.arange(3), counts)
    score = np.random.default_rng(3).random(len(pseudo_class))
    first = selection.in_turn(score, pseudo_class)[:limit]
    assert np.bincount(pseudo_class[first], minlength=3).tolist() == left
    for of in range(3):
        best = sorted(score[pseudo_class == of], reverse=True)[: left[of]]
        assert sorted(score[first][pseudo_class[first] == of], reverse=True) == best


def test_what_is_left_over_from_equal_quotas_goes_to_the_best_scores() -> None:
    score, pseudo_class = np.array([0.9, 0.8, 0.7, 0.6, 0.95, 0.5]), np.array([0, 0, 1, 1, 2, 2])
    assert sorted(selection.in_turn(score, pseudo_class)[:4]) == [0, 1, 2, 4]


@pytest.mark.parametrize("by", DETERMINED)
@pytest.mark.parametrize("limit", [9, 40, 150])
def test_never_more_than_asked_for_and_as_equal_over_the_classes_as_can_be(by: SelectBy, limit: int) -> None:
    features = a_pool()[0]
    found = chosen(by, features, limit)
    assert len(found.rows) <= limit
    could = np.flatnonzero((found.why == KEPT) | (found.why == OUTSCORED))
    counts = np.bincount(found.pseudo_class[found.rows], minlength=4)
    there = np.bincount(found.pseudo_class[could], minlength=4)
    assert len(found.rows) == min(limit, len(could))
    for of in range(4):  # a class with less than another's has nothing more to give
        assert counts[of] >= counts.max() - 1 or counts[of] == there[of]


@pytest.mark.parametrize("by", DETERMINED)
def test_another_order_of_the_rows_is_another_order_of_the_choice(by: SelectBy) -> None:
    features = a_pool()[0]
    order = np.random.default_rng(4).permutation(len(features))
    straight, shuffled = chosen(by, features, 100), chosen(by, features[order], 100)
    assert (shuffled.why == straight.why[order]).all()
    assert (shuffled.pseudo_class == straight.pseudo_class[order]).all()
    np.testing.assert_allclose(shuffled.score, straight.score[order], atol=1e-6)


@pytest.mark.parametrize("by", RULES)
def test_the_same_again_is_the_same_and_random_draws_by_the_seed(by: SelectBy) -> None:
    features = a_pool()[0]
    one, two = chosen(by, features, 80, seed=3), chosen(by, features, 80, seed=3)
    for name, value in vars(one).items():
        assert value.tobytes() == getattr(two, name).tobytes()
    if by == "random":
        assert len(one.rows) == 80
        assert chosen(by, features, 80, seed=4).rows.tolist() != one.rows.tolist()


@pytest.mark.parametrize("by", DETERMINED)
def test_half_precision_and_length_change_the_choice_only_where_scores_all_but_tie(by: SelectBy) -> None:
    features = a_pool()[0]
    full, half = chosen(by, features, 100), chosen(by, (3 * features).astype(np.float16), 100)
    np.testing.assert_allclose(half.score, full.score, atol=5e-3)
    for row in np.flatnonzero(full.why != half.why):
        mine = full.pseudo_class == full.pseudo_class[row]
        cut = full.score[mine & (full.why == KEPT)].min()
        assert abs(full.score[row] - cut) < 1e-2


@pytest.mark.parametrize("by", RULES)
@pytest.mark.parametrize("classes", [2, 100])
def test_two_classes_and_a_hundred_some_of_them_empty(by: SelectBy, classes: int) -> None:
    features, vectors, nouns = a_pool(classes=classes, dim=64)
    found = select(features, vectors, SCALE, by, 60, nouns=nouns)
    assert 0 < len(found.rows) <= 60
    assert found.score.shape == found.pseudo_class.shape == found.why.shape == (300,)
    assert np.isfinite(found.score).all()
    counts = found.counts(classes)
    assert counts.shape == (classes, 2)
    assert counts.sum() == 300
    assert counts[:, 0].sum() == len(found.rows)
    assert sum(found.dropped.values()) == 300 - len(found.rows)


@pytest.mark.parametrize("sizes", [(15,), (24, 8)])  # too few photos for two prototypes; enough for two
def test_scores_of_prototypes_are_those_of_the_formula(sizes: tuple[int, ...]) -> None:
    """Two groups of unequal size do not begin as what they are: k-means has to find them."""
    random = np.random.default_rng(5)
    centres = unit(random.normal(size=(len(sizes), 24)))
    group = np.repeat(np.arange(len(sizes)), sizes)
    features = unit(centres[group] + 0.1 * random.normal(size=(len(group), 24)))
    confidence = random.random(len(group))
    score = selection.prototype_scores(features, confidence, np.zeros(len(group), np.int64))
    for row, u in enumerate(features):
        prototype = unit(features[group == group[row]].mean(axis=0))
        distances = sorted(np.linalg.norm(u - other) for k, other in enumerate(features) if k != row)
        expected = 0.5 * confidence[row] + 0.5 * u @ prototype - 0.5 * distances[selection.NEIGHBOUR - 1]
        assert score[row] == pytest.approx(expected, abs=2e-3)


def test_prototypes_find_the_groups_of_a_class_and_put_strays_last() -> None:
    random = np.random.default_rng(6)
    groups = unit(random.normal(size=(4, 32)))
    near = unit(np.repeat(groups, 40, axis=0) + 0.05 * random.normal(size=(160, 32)))
    strays = unit(random.normal(size=(6, 32)))
    score = selection.prototype_scores(np.concatenate([near, strays]), np.full(166, 0.8), np.zeros(166, np.int64))
    assert score[:160].min() > score[160:].max()


def test_a_photo_that_is_alone_in_its_class_has_no_neighbour() -> None:
    features = a_pool(3)[0]
    score = selection.prototype_scores(features, np.full(3, 0.6), np.array([0, 1, 1]))
    assert score[0] == pytest.approx(0.5 * 0.6 + 0.5, abs=1e-3)
    assert np.isfinite(score).all()


def test_classes_larger_than_a_piece_are_read_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    features = a_pool()[0]
    whole = chosen("prototype", features, 100)
    monkeypatch.setattr(selection, "_PIECE", 7)
    pieces = chosen("prototype", features, 100)
    np.testing.assert_allclose(pieces.score, whole.score, atol=1e-6)
    assert pieces.rows.tolist() == whole.rows.tolist()


def test_neighbours_of_a_large_class_are_looked_for_among_some_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer references are farther away: the distance may grow, and the order of strays and others stays."""
    random = np.random.default_rng(7)
    rows = unit(np.concatenate([np.eye(16)[0] + 0.05 * random.normal(size=(150, 16)), random.normal(size=(5, 16))]))
    confidence, one = np.full(155, 0.8), np.zeros(155, np.int64)
    every = selection.prototype_scores(rows, confidence, one)
    monkeypatch.setattr(selection, "REFERENCES", 40)
    some = selection.prototype_scores(rows, confidence, one)
    assert (some <= every + 1e-6).all()
    assert some[:150].min() > some[150:].max()


def test_a_dropped_row_has_its_reason() -> None:
    _, vectors, _ = a_pool()
    sure = np.repeat(vectors, 40, axis=0)
    unsure = unit(vectors[:1] + vectors[1:2])  # as much of one class as of another
    features = np.concatenate([sure, np.repeat(unsure, 3, axis=0)])
    found = select(features, vectors, SCALE, "threshold", 100)
    assert found.dropped == {REASONS[UNSURE]: 3, REASONS[OUTSCORED]: 60}
    assert found.counts(4)[:, 0].tolist() == [25] * 4


@pytest.mark.parametrize(("amount", "rows", "count"), [(0.5, 7, 4), (1, 7, 7), (1.0, 0, 0), (30, 7, 7), (3, 7, 3)])
def test_an_amount_is_a_share_up_to_one_and_a_number_beyond(amount: float, rows: int, count: int) -> None:
    assert selection.wanted(amount, rows) == count


def test_no_label_and_no_name_is_asked_for() -> None:
    asked = inspect.signature(select).parameters
    assert set(asked) == {"features", "vectors", "scale", "by", "limit", "seed", "nouns"}
    assert set(RULES) == set(SELECT_BY)
