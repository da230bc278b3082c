"""A destination has one build at a time."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedistill.bundle.alone import alone_at
from edgedistill.errors import InputError


def test_a_second_build_is_refused_while_the_first_is_under_way(tmp_path: Path) -> None:
    with alone_at(tmp_path / "a" / "bundle"), alone_at(tmp_path / "a" / "other"):
        for _ in range(2):  # the refused one leaves the lock where it is
            with (
                pytest.raises(InputError, match=r"another build .* writes to .*bundle"),
                alone_at(tmp_path / "a/bundle"),
            ):
                raise AssertionError("both were let in")
    with alone_at(tmp_path / "a" / "bundle"):
        pass
    assert list((tmp_path / "a").iterdir()) == []


def test_what_a_killed_build_left_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / ".bundle.lock").touch()
    with alone_at(tmp_path / "bundle"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write in .*file"), alone_at(tmp_path / "file" / "bundle"):
        pass
