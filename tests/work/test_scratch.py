"""Scratch folders: gone at the end, cleared after a kill, left alone while their owner lives."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from edgedistill.work.scratch import PREFIX, clear, scratch


def test_it_is_there_and_then_it_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with scratch(Path(".")) as folder:
        (folder / "graph.onnx").write_bytes(b"half")
        assert folder.parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_cleared_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / f"{PREFIX}killed" / "deep").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    with scratch(tmp_path) as folder:
        assert set(tmp_path.iterdir()) == {folder, tmp_path / "kept"}


def test_two_at_once_leave_each_other_alone(tmp_path: Path) -> None:
    with scratch(tmp_path) as one, scratch(tmp_path) as other:
        clear(tmp_path)
        assert one.is_dir()
        assert other.is_dir()
        assert one != other


def test_where_nothing_can_be_made_the_systems_place_is_used(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with scratch(tmp_path / "file") as folder:
        assert tmp_path not in folder.parents
    assert not folder.exists()


def test_without_locks_nothing_is_cleared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a network disk that has none: nobody can tell whose they are."""
    left = tmp_path / f"{PREFIX}someones"
    left.mkdir()

    def refused(*_: object) -> None:
        raise OSError(95, os.strerror(95))

    monkeypatch.setattr(fcntl, "flock", refused)
    with scratch(tmp_path) as folder:
        assert folder.is_dir()
    assert left.is_dir()
