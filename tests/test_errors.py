"""Errors for a person: two lines, and an exit code."""

from __future__ import annotations

import pickle

import pytest

from edgedistill.errors import EdgeDistillError, InputError
from edgedistill.targets.error_lines import LONGEST
from edgedistill.targets.errors import TargetError


@pytest.mark.parametrize(("kind", "code"), [(EdgeDistillError, 1), (InputError, 2), (TargetError, 2)])
def test_an_error_is_two_lines_whatever_a_library_said(kind: type[EdgeDistillError | TargetError], code: int) -> None:
    error = kind("the file is damaged: expected ]\nat line 3\r\n  near here", "Make it\nagain.")
    assert str(error).splitlines() == ["the file is damaged: expected ] at line 3   near here", "Make it again."]
    assert error.exit_code == code


@pytest.mark.parametrize("kind", [EdgeDistillError, InputError, TargetError])
def test_what_a_file_brings_along_is_cut_in_the_middle(kind: type[EdgeDistillError | TargetError]) -> None:
    error = kind(f"manifest.json: build_id is {'x' * (8 << 20)}, not a str", "y" * 3000)
    assert len(error.wrong) == len(error.todo) == LONGEST
    assert error.wrong.startswith("manifest.json: build_id is xxx")
    assert error.wrong.endswith("xxx, not a str")
    assert kind("z" * LONGEST, "").wrong == "z" * LONGEST


def test_an_error_of_another_process_arrives_with_both_lines() -> None:
    error = InputError("no student.json in start", "Name another folder.")
    arrived = pickle.loads(pickle.dumps(error))  # noqa: S301 - what this line wrote
    assert (type(arrived), str(arrived), arrived.exit_code) == (InputError, str(error), 2)
