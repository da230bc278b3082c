"""Which images stay, and why the others do not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedistill.synthesis.filter import DUPLICATE, HESITANT, MARGIN, RANK, filtered

UNLIKE = np.eye(16)


def rows(*probabilities: list[float]) -> np.ndarray:
    return np.array(probabilities, np.float64)


def test_the_first_thing_that_is_wrong_is_the_reason() -> None:
    features = UNLIKE[:5].copy()
    features[1] = features[0]
    probabilities = rows(
        [0.9, 0.02, 0.02, 0.02, 0.04],
        [0.8, 0.05, 0.05, 0.05, 0.05],
        [0.1, 0.2, 0.3, 0.4, 0.0],
        [0.3, 0.6, 0.1, 0.0, 0.0],
        [0.5, 0.2, 0.1, 0.1, 0.1],
    )
    found = filtered(features, probabilities, np.zeros(5, int))
    assert found.reasons == ("kept", "near-duplicate", "another class", "unsure", "kept")
    assert found.kept.tolist() == [True, False, False, False, True]
    assert found.weights.tolist() == pytest.approx([0.9, 0, 0, 0, 0.5])
    assert found.yields.tolist() == [2 / 5, 0, 0, 0, 0]


def test_the_better_of_two_alike_stays_and_classes_do_not_compete() -> None:
    features = UNLIKE[[0, 0, 0]]
    found = filtered(features, rows([0.7, 0.3], [0.9, 0.1], [0.2, 0.8]), np.array([0, 0, 1]))
    assert found.reasons == ("near-duplicate", "kept", "kept")


def test_what_repeats_an_image_that_is_out_may_stay() -> None:
    angles = np.deg2rad([0, 12, 24])  # neighbours are closer than 0.97, the outer two are not
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert np.cos(angles[1]) > DUPLICATE > np.cos(angles[2])
    found = filtered(features, rows([0.9, 0.1], [0.8, 0.2], [0.7, 0.3]), np.zeros(3, int))
    assert found.reasons == ("kept", "near-duplicate", "kept")


def test_unsure_images_come_back_the_surest_first_until_a_fifth_is_hard_to_tell() -> None:
    sure = [[0.96, 0.02, 0.01, 0.01]] * 8
    unsure = [[0.3, 0.4, 0.2, 0.1], [0.45, 0.5, 0.05, 0.0], [0.4, 0.5, 0.1, 0.0], [0.2, 0.5, 0.3, 0.0]]
    found = filtered(UNLIKE[:12], rows(*sure, *unsure), np.zeros(12, int))
    assert found.reasons[8:] == ("unsure", "kept: hard to tell", "kept: hard to tell", "unsure")


def test_two_classes_ask_for_more_than_chance_not_for_certainty() -> None:
    found = filtered(UNLIKE[:2], rows([0.6, 0.4], [0.4, 0.6]), np.zeros(2, int))
    assert found.reasons[0] == "kept"


def test_no_image_and_a_class_without_any_are_fine() -> None:
    found = filtered(np.zeros((0, 4)), np.zeros((0, 3)), np.zeros(0, int))
    assert (len(found.kept), found.reasons, found.yields.tolist()) == (0, (), [0, 0, 0])


def test_rows_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="classes"):
        filtered(UNLIKE[:2], rows([0.6, 0.4]), np.zeros(1, int))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.integers(2, 8))
def test_whatever_the_teacher_says(seed: int, count: int, n_classes: int) -> None:
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, 3))  # few dimensions: many are alike
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    probabilities = random.dirichlet(np.full(n_classes, 0.3), count)
    classes = random.integers(n_classes, size=count)
    found = filtered(features, probabilities, classes)

    own = probabilities[np.arange(count), classes]
    assert found.kept.tolist() == [reason.startswith("kept") for reason in found.reasons]
    assert found.weights == pytest.approx(own * found.kept)
    best = np.sort(probabilities, axis=1)
    hesitant = best[:, -1] - best[:, -2] < MARGIN
    for label in range(n_classes):
        mine = np.flatnonzero((classes == label) & found.kept)
        assert found.yields[label] * max(1, (classes == label).sum()) == pytest.approx(len(mine))
        assert all((probabilities[row] > own[row]).sum() < RANK for row in mine)
        close = features[mine] @ features[mine].T - 2 * np.eye(len(mine))
        assert (close <= DUPLICATE).all()
        left = [row for row in np.flatnonzero(classes == label) if found.reasons[row] == "unsure" and hesitant[row]]
        assert not left or hesitant[mine].sum() >= HESITANT * len(mine)
