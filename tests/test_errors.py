"""Errors for a person: two lines, and an exit code."""

from __future__ import annotations

import pytest

from edgedistill.errors import EdgeDistillError, InputError
from edgedistill.targets.errors import TargetError


@pytest.mark.parametrize(("kind", "code"), [(EdgeDistillError, 1), (InputError, 2), (TargetError, 2)])
def test_an_error_is_two_lines_whatever_a_library_said(
    kind: type[EdgeDistillError | TargetError], code: int
) -> None:
    error = kind("the file is damaged: expected ]\nat line 3\r\n  near here", "Make it\nagain.")
    assert str(error).splitlines() == ["the file is damaged: expected ] at line 3   near here", "Make it again."]
    assert error.exit_code == code
