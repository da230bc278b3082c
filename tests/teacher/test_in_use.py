"""A build's teacher: loaded when it is needed, its dtype settled once."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from edgedistill.teacher.in_use import TeacherInUse
from edgedistill.teacher.names import find_teacher
from edgedistill.work.compute import Compute
from edgedistill.work.stage import WorkFolder


def test_the_choice_of_a_dtype_is_told_once_however_many_stages_ask(
    tiny_teacher_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    files = find_teacher(f"local-dir:{tiny_teacher_folder}")
    teacher = TeacherInUse(files, "auto", Compute("cpu", 1), WorkFolder(tmp_path))
    assert len({teacher.dtype for _ in range(3)}) == 1
    assert caplog.text.count("teacher dtype") == 1


def test_a_dtype_that_was_asked_for_is_not_measured(
    tiny_teacher_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    files = find_teacher(f"local-dir:{tiny_teacher_folder}")
    assert TeacherInUse(files, "float32", Compute("cpu", 1), WorkFolder(tmp_path)).dtype == "float32"
    assert "teacher dtype" not in caplog.text
