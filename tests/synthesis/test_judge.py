"""The labelling teacher: what it sees in images that were made."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from edgedistill.synthesis.judge import Judge
from edgedistill.teacher.in_use import TeacherInUse
from edgedistill.work.stage import WorkFolder


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


def test_its_dtype_is_settled_and_told_once_however_many_blocks_it_looks_at(
    judge: Judge, images: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    teacher = TeacherInUse(judge.teacher.files, "auto", judge.teacher.compute, WorkFolder(tmp_path / "auto"))
    again = Judge(teacher, judge.vectors, judge.scale)
    for _ in range(3):
        again.look(images)
    assert caplog.text.count("teacher dtype") == 1
