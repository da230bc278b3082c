"""The labelling teacher: what it sees in images that were made."""

from __future__ import annotations

import numpy as np
import pytest

from edgedistill.synthesis.judge import Judge


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, 40, 40, 3), np.uint8)


def test_every_image_gets_a_unit_feature_and_probabilities(judge: Judge, images: np.ndarray) -> None:
    features = judge.look(images)
    assert features.shape == (3, judge.vectors.shape[1])
    assert np.linalg.norm(features, axis=1) == pytest.approx(1, abs=1e-5)
    found = judge.probabilities(features)
    assert found.sum(axis=1) == pytest.approx(1)
    assert (found.argmax(axis=1) == (features @ judge.vectors.T).argmax(axis=1)).all()
