from __future__ import annotations

import numpy as np
import pytest

from edgedistill.synthesis.diversity import diversity, effective_rank, mean_pairwise_cosine


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_the_cosine_is_the_mean_over_pairs_then_over_classes() -> None:
    features, classes = unit(np.random.default_rng(0).normal(size=(9, 5))), np.array([0, 0, 0, 0, 1, 1, 1, 2, 4])
    each = []
    for c in (0, 1):  # 2 and 4 have no pair
        own = features[classes == c]
        each.append(np.mean([own[i] @ own[j] for i in range(len(own)) for j in range(len(own)) if i != j]))
    assert mean_pairwise_cosine(features, classes) == pytest.approx(np.mean(each))


def test_one_image_a_class_has_no_pair() -> None:
    found = diversity(np.eye(3), np.arange(3), np.eye(3))
    assert found.cosine is None
    assert (found.rank, found.agreement) == (0.0, 1.0)
    assert str(found) == "no two of a class, effective rank 0.0, 100 % taken for their class"


def test_the_effective_rank_counts_directions_of_equal_strength() -> None:
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(8, 8)))[0]
    assert effective_rank(turned[:3]) == pytest.approx(3)
    assert effective_rank(turned @ np.diag([1, 1, 0.01, 0, 0, 0, 0, 0])) == pytest.approx(2, abs=0.15)
    assert effective_rank(np.zeros((4, 8))) == 0


def test_equal_images_of_different_classes_are_not_diverse() -> None:
    classes = np.repeat(np.arange(4), 10)
    found = diversity(np.eye(4)[classes], classes, np.eye(4))
    assert (found.cosine, found.rank, found.agreement) == (1.0, 0.0, 1.0)


def test_agreement_is_the_share_that_the_teacher_takes_for_the_prompts_class() -> None:
    assert diversity(np.eye(4)[[0, 1, 1, 3]], np.arange(4), np.eye(4)).agreement == 0.75
