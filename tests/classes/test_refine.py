from __future__ import annotations

import numpy as np
import pytest

from edgedistill.classes.refine import (
    SOFT,
    class_prior,
    equal_classes,
    prototypes,
    pseudo_labels,
    same_confidence,
    soft_centroids,
    softmax,
    visual_proxies,
)
from edgedistill.teacher.unit import unit


def pool(count: int = 300, classes: int = 4, dim: int = 12, apart: float = 1.0) -> tuple[np.ndarray, ...]:
    """Features in clusters, text vectors that lean away from them alike (the modality gap), true classes."""
    draw = np.random.default_rng(0)
    centres = unit(draw.normal(size=(classes, dim)))
    truth = draw.integers(0, classes, count)
    features = unit(apart * centres[truth] + 0.15 * draw.normal(size=(count, dim)))
    text = unit(centres + 0.8 * unit(draw.normal(size=dim)) + 0.25 * draw.normal(size=(classes, dim)))
    return features, text, truth


def test_proxies_are_unit_vectors_and_nearer_to_the_photos_than_the_text() -> None:
    features, text, truth = pool()
    proxies = visual_proxies(features.astype(np.float32), text)
    assert proxies.dtype == np.float32
    assert np.allclose(np.linalg.norm(proxies, axis=1), 1)
    right = [((features @ vectors.T).argmax(axis=1) == truth).mean() for vectors in (text, proxies)]
    assert right[1] > right[0]


def test_a_pool_that_the_vectors_fit_already_has_no_gradient() -> None:
    """Where the pseudo-labels are the softmax itself, class by class the moments match."""
    features, text, _ = pool()
    target = softmax(features @ text.T / SOFT)
    gradient = (softmax(features @ text.T / SOFT) - target).T @ features
    assert np.abs(gradient).max() == 0


def test_the_order_of_classes_and_photos_does_not_matter() -> None:
    features, text, _ = pool()
    order, rows = np.random.default_rng(1).permutation(4), np.random.default_rng(2).permutation(len(features))
    assert np.allclose(visual_proxies(features, text)[order], visual_proxies(features[rows], text[order]), atol=1e-5)


@pytest.mark.parametrize("uniform", [0.0, 0.3, 1.0])
def test_pseudo_labels_have_the_balance_that_was_asked_for(uniform: float) -> None:
    features, text, _ = pool()
    q = pseudo_labels(features, text, uniform=uniform)
    wanted = (1 - uniform) * class_prior(softmax(features @ text.T / 0.01)) + uniform / 4
    assert np.allclose(q.sum(axis=1), 1)
    assert np.allclose(q.mean(axis=0), wanted, atol=4e-2)


def test_the_prior_of_calibrated_probabilities_is_found() -> None:
    """5,000 draws from .6/.3/.1, seen through a noisy channel whose probabilities are right under equal classes."""
    draw = np.random.default_rng(0)
    truth = draw.choice(3, size=5000, p=[0.6, 0.3, 0.1])
    seen = np.eye(3)[truth] * 1.5 + draw.normal(size=(5000, 3))  # equal spreads: the posterior is a softmax
    q = softmax(1.5 * seen)
    prior = class_prior(q)
    assert prior.sum() == pytest.approx(1)
    assert np.abs(prior - [0.6, 0.3, 0.1]).max() < 0.02
    weighed = q * prior
    assert np.abs((weighed / weighed.sum(axis=1, keepdims=True)).mean(axis=0) - prior).max() < 1e-6


def test_soft_centroids_are_weighted_means_of_length_one() -> None:
    features, text, _ = pool()
    q = softmax(20 * features @ text.T)
    for c, centroid in enumerate(soft_centroids(features, q)):
        mean = sum(q[i, c] * features[i] for i in range(len(features)))
        assert np.allclose(centroid, mean / np.linalg.norm(mean), atol=1e-6)


def test_a_class_without_a_photo_does_not_become_nan() -> None:
    features, text, _ = pool(count=3, classes=4)
    assert np.isfinite(visual_proxies(features, text, steps=20)).all()
    assert np.isfinite(soft_centroids(features, np.zeros((3, 4)))).all()


def test_prototypes_are_means_beside_the_text_counted_as_one_photo() -> None:
    features, text, _ = pool(count=40)
    text = 0.9 * text
    found = prototypes(features, text, 30.0, evened=0.0, prior=2.0)
    q = softmax(30.0 * features @ text.T)
    expected = unit(np.array([q[:, c] @ features + 2 * unit(text[c]) for c in range(4)]))
    assert np.allclose(unit(found), expected, atol=1e-6)
    assert np.ptp(np.linalg.norm(found, axis=1)) < 1e-6


def test_prototypes_are_as_sure_of_the_pool_as_the_text_was() -> None:
    features, text, _ = pool()
    both = (text, prototypes(features, text, 30.0))
    before, after = (softmax(30.0 * features @ vectors.T).max(axis=1).mean() for vectors in both)
    assert after == pytest.approx(before, abs=1e-4)


def test_prototypes_name_more_photos_rightly() -> None:
    features, text, truth = pool()
    both = (text, prototypes(features, text, 30.0))
    before, after = (((features @ vectors.T).argmax(1) == truth).mean() for vectors in both)
    assert after > before


def test_a_class_that_the_pool_does_not_show_stays_at_its_text() -> None:
    features, text, _ = pool()
    lonely = np.concatenate([text, -unit(features.mean(axis=0))[None]])
    assert unit(prototypes(features, lonely, 100.0))[-1] @ lonely[-1] > 0.99


def test_biases_make_all_classes_equally_frequent() -> None:
    features, text, _ = pool()
    logits = 30.0 * features @ text.T
    assert np.allclose(softmax(logits + equal_classes(logits)).mean(axis=0), 0.25, atol=0.02)


def test_the_common_length_stays_in_bounds_where_nothing_can_be_told_apart() -> None:
    features, text, _ = pool()
    twins = np.repeat(text[:1], 2, axis=0)
    assert same_confidence(features @ twins.T, 0.9, 30.0) == pytest.approx(5.0)
    assert same_confidence(features @ twins[:1].T, 1.0, 30.0) == 1.0
