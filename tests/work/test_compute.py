"""A choice made by timing: made once for a work folder, told once in a build."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from edgedistill.work.compute import Compute
from edgedistill.work.stage import WorkFolder


def test_a_choice_that_several_stages_ask_for_is_made_and_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "edgedistill")
    work, made = WorkFolder(tmp_path), iter([("bfloat16", "2.1 times as fast")])
    found = [Compute("cpu", 2).choice(work, "student-dtype", {"batch": 64}, lambda: next(made)) for _ in range(3)]
    assert found == ["bfloat16"] * 3
    assert caplog.messages == ["student dtype bfloat16: 2.1 times as fast"]


def test_the_next_build_in_the_same_folder_tells_it_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "edgedistill")
    for _ in range(2):
        Compute("cpu", 2).choice(WorkFolder(tmp_path), "student-dtype", {}, lambda: ("float32", "trial"))
    assert caplog.messages == ["student dtype float32: trial"] * 2
