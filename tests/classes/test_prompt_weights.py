"""Prompts are weighed as defined, on the pool alone, without labels."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tiny_bank import make_bank, unit

from edgedistill.choices import PROMPT_WEIGHTS
from edgedistill.classes.prompt_weights import prompt_weights
from edgedistill.classes.text_bank import TextBank


def slow_scores(bank: TextBank, features: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """mean_i max_c (z_icp − s·ref·T_cp), one number at a time."""
    scores = []
    for p in range(bank.vectors.shape[1]):
        best = []
        for u in features.astype(np.float64):
            debiased = [
                bank.scale * float(np.dot(u, t[p].astype(np.float64)))
                - bank.scale * float(np.dot(reference, t[p].astype(np.float64)))
                for t in bank.vectors
            ]
            best.append(max(debiased))
        scores.append(sum(best) / len(best))
    return np.array(scores)


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x - x.max()) / np.exp(x - x.max()).sum()


def test_uniform_counts_all_prompts_alike(bank: TextBank):
    np.testing.assert_array_equal(prompt_weights(bank, "uniform"), np.full(5, 0.2))


def test_zero_shot_against_its_definition(bank: TextBank, features: np.ndarray):
    broad = np.linspace(-0.3, 0.3, 16).astype(np.float32)
    pool = features.mean(axis=0, dtype=np.float64)
    expected = {"zero-shot": (pool + broad) / 2, "zero-shot-pool": pool}
    for weighting, reference in expected.items():
        weights = prompt_weights(bank, weighting, features, broad)
        np.testing.assert_allclose(weights, softmax(slow_scores(bank, features, reference)), rtol=1e-9)


@pytest.mark.parametrize("weighting", PROMPT_WEIGHTS)
def test_weights_sum_to_one_and_follow_the_prompts(bank: TextBank, features: np.ndarray, weighting: str):
    broad = np.linspace(-0.3, 0.3, 16)
    weights = prompt_weights(bank, weighting, features, broad)
    assert weights.sum() == pytest.approx(1)
    order = np.random.default_rng(2).permutation(5)
    np.testing.assert_allclose(
        prompt_weights(dataclasses.replace(bank, vectors=bank.vectors[:, order]), weighting, features, broad),
        weights[order],
        rtol=1e-9,
    )
    shuffled = np.random.default_rng(3).permutation(len(features))
    np.testing.assert_allclose(prompt_weights(bank, weighting, features[shuffled], broad), weights, rtol=1e-9)


def test_a_frequent_word_in_a_prompt_earns_it_nothing(bank: TextBank, features: np.ndarray):
    """One vector added to all classes of a prompt: its score stays to 1e-10 when debiased, and jumps when not."""
    vectors = bank.vectors.astype(np.float64)
    frequent = vectors.copy()
    frequent[:, 2] += 0.5 * unit(features.mean(axis=0, dtype=np.float64))
    before = prompt_weights(make_bank(vectors), "zero-shot-pool", features)
    after = prompt_weights(make_bank(frequent), "zero-shot-pool", features)
    np.testing.assert_allclose(np.log(after / before), 0, atol=1e-10)
    nothing = np.zeros(16)
    raw = [slow_scores(make_bank(v), features, nothing)[2] for v in (vectors, frequent)]
    assert raw[1] - raw[0] > 1


def test_a_pool_read_from_disk_in_pieces_gives_the_same_weights(bank, features, tmp_path: Path, monkeypatch):
    import edgedistill.classes.prompt_weights

    np.save(tmp_path / "features.npy", features)
    expected = prompt_weights(bank, "zero-shot-pool", features)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    np.testing.assert_array_equal(prompt_weights(bank, "zero-shot-pool", mapped), expected)
    monkeypatch.setattr(edgedistill.classes.prompt_weights, "_SCORED", 300)  # 40 images x 15: every second image
    sampled = prompt_weights(bank, "zero-shot-pool", features)
    reference = features.mean(axis=0, dtype=np.float64)
    np.testing.assert_allclose(sampled, softmax(slow_scores(bank, features[::2], reference)), rtol=1e-9)


def test_a_pool_is_never_asked_for_whole(bank, features, monkeypatch):
    import edgedistill.classes.prompt_weights

    asked = []

    class OnDisk:
        def __len__(self):
            return len(features)

        def __getitem__(self, part):
            asked.append(len(features[part]))
            return features[part]

    expected = prompt_weights(bank, "zero-shot-pool", features)
    monkeypatch.setattr(edgedistill.classes.prompt_weights, "_ROWS_A_PIECE", 7)  # of 40 images
    np.testing.assert_allclose(prompt_weights(bank, "zero-shot-pool", OnDisk()), expected, rtol=1e-12)
    assert max(asked) == 7


def test_weights_that_need_something_ask_for_it(bank: TextBank, features: np.ndarray):
    with pytest.raises(ValueError, match="needs its features"):
        prompt_weights(bank, "zero-shot-pool")
    with pytest.raises(ValueError, match="mean feature"):
        prompt_weights(bank, "zero-shot", features)
    with pytest.raises(ValueError, match="not one of"):
        prompt_weights(bank, "best", features)
