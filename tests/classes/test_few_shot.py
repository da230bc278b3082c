"""Class vectors tuned on labelled photos: one answer, found, and never where it must not be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_bank import make_bank, unit

from edgedistill.classes.class_vectors import ClassVectors, class_vectors
from edgedistill.classes.few_shot import KEEP, accuracy, objective, tuned, tuned_vectors
from edgedistill.errors import InputError

C, D, K, V, SCALE = 4, 12, 14, 3, 20.0


def shots(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(features [K,V,D], labels [K], start [C,D]): photos scattered around places that the start points past."""
    random = np.random.default_rng(seed)
    start = unit(random.normal(size=(C, D)))
    true = unit(start + 0.4 * random.normal(size=(C, D)))
    labels = np.arange(K) % (C - 1)  # the last class has no photo
    features = unit(true[labels][:, None] + 0.35 * random.normal(size=(K, V, D)))
    return features.astype(np.float32), labels, start.astype(np.float32)


def objective_by_hand(w: np.ndarray, features: np.ndarray, labels: np.ndarray, start: np.ndarray, keep: float) -> float:
    per_class: dict[int, list[float]] = {}
    for photo, label in zip(features, labels):
        losses = []
        for u in photo:
            z = SCALE * (w @ u)
            losses.append(np.log(np.exp(z - z.max()).sum()) + z.max() - z[label])
        per_class.setdefault(int(label), []).append(float(np.mean(losses)))
    held = np.mean([np.sum((SCALE * (w[c] - start[c])) ** 2) for c in range(C)])
    return float(np.mean([np.mean(losses) for losses in per_class.values()]) + keep / 2 * held)


def test_the_objective_is_the_formula() -> None:
    features, labels, start = shots()
    w = start + 0.1 * np.random.default_rng(1).normal(size=start.shape)
    f, t = (torch.from_numpy(x.astype(np.float64)) for x in (features, start))
    moved = torch.from_numpy(SCALE * (w - start))
    found = objective(moved, f, torch.from_numpy(labels), t, SCALE, 0.3).item()
    assert found == pytest.approx(objective_by_hand(w, features.astype(np.float64), labels, start, 0.3), rel=1e-9)
    assert torch.autograd.gradcheck(
        lambda m: objective(m, f, torch.from_numpy(labels), t, SCALE, 0.3), (moved.requires_grad_(),)
    )


def test_what_is_found_is_the_least_there_is() -> None:
    features, labels, start = shots()
    found = tuned_vectors(features, labels, start, SCALE).astype(np.float64)
    least = objective_by_hand(found, features, labels, start, KEEP)
    assert least < objective_by_hand(start, features, labels, start, KEEP)
    for seed in range(20):
        step = np.random.default_rng(seed).normal(size=found.shape)
        for size in (1e-3, 1e-1):
            assert objective_by_hand(found + size * step, features, labels, start, KEEP) > least


def test_photos_that_the_text_gets_wrong_are_learned_and_others_like_them_gain() -> None:
    features, labels, start = shots()
    unseen, of_them, _ = shots()
    unseen = unit(unseen + 0.1 * np.random.default_rng(5).normal(size=unseen.shape)).astype(np.float32)
    found = tuned_vectors(features, labels, start, SCALE)
    assert accuracy(features, labels, start) < accuracy(features, labels, found)
    assert accuracy(unseen, of_them, start) < accuracy(unseen, of_them, found)


def test_held_hard_nothing_moves_and_the_answer_does_not_depend_on_order_or_shots_given_twice() -> None:
    features, labels, start = shots()
    assert np.allclose(tuned_vectors(features, labels, start, SCALE, keep=1e6), start, atol=1e-5)
    found = tuned_vectors(features, labels, start, SCALE)
    order = np.random.default_rng(3).permutation(K)
    assert np.allclose(tuned_vectors(features[order], labels[order], start, SCALE), found, atol=1e-5)
    twice = np.concatenate([features, features[labels == 0]]), np.concatenate([labels, labels[labels == 0]])
    assert np.allclose(tuned_vectors(*twice, start, SCALE), found, atol=1e-5), "a class with more photos counts no more"


def vectors(start: np.ndarray) -> ClassVectors:
    return class_vectors(make_bank(start[:, None], SCALE), np.ones(1), weighting="uniform")


def test_what_is_baked_is_tuned_and_the_text_stays(tmp_path, caplog: pytest.LogCaptureFixture) -> None:
    features, labels, start = shots()
    caplog.set_level("INFO", logger="edgedistill")
    found = tuned(vectors(start), features, labels)
    assert np.array_equal(found.text, start)
    assert np.array_equal(found.baked, tuned_vectors(features, labels, start, SCALE))
    assert "tuned on 14 labelled photos of 3 classes" in caplog.text
    found.save(tmp_path)
    loaded = ClassVectors.load(tmp_path)
    assert loaded.few_shot == K
    assert np.array_equal(loaded.baked, found.baked)


def test_photos_of_one_class_are_refused() -> None:
    features, labels, start = shots()
    with pytest.raises(InputError, match="of 1 class:"):
        tuned(vectors(start), features, np.zeros_like(labels))
