"""A destination has one build at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedistill.bundle.destination_lock import destination_lock
from edgedistill.errors import InputError


def test_a_second_build_is_refused_while_the_first_is_under_way(tmp_path: Path) -> None:
    with destination_lock(tmp_path / "a" / "bundle"), destination_lock(tmp_path / "a" / "other"):
        for _ in range(2):  # the refused one leaves the lock where it is
            with (
                pytest.raises(InputError, match=r"another build .* writes to .*bundle"),
                destination_lock(tmp_path / "a/bundle"),
            ):
                raise AssertionError("both were let in")
    with destination_lock(tmp_path / "a" / "bundle"):
        pass
    assert list((tmp_path / "a").iterdir()) == []


def test_what_a_killed_build_left_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / ".bundle.lock").touch()
    with destination_lock(tmp_path / "bundle"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write in .*file"), destination_lock(tmp_path / "file" / "bundle"):
        pass
