"""Folders of classes: any name has one, no two share it, and a labels file finds its own again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.errors import InputError
from edgedistill.labels import Label, Labels
from edgedistill.synthesis.folder import check_destination, folder_names


@given(st.lists(st.text(min_size=1, max_size=300), min_size=1, max_size=12, unique=True))
def test_every_class_has_a_folder_of_its_own_that_a_file_system_takes(names: list[str]) -> None:
    found = folder_names(names)
    assert len({name.casefold() for name in found}) == len(names)
    for name in found:
        assert name not in ("", ".", "..")
        assert not name.startswith(".")
        assert not set(name) & set("/\\\0\n")
        assert len(name.encode()) <= 255


def test_the_folder_of_a_plain_name_is_the_name(tmp_path: Path) -> None:
    names = ["hex bolt", "Kugellager", "шайба", "x-ray (old)", "s/w image"]
    labels = Labels(tuple(Label(name) for name in names))
    found = folder_names(names)
    assert found == ["hex bolt", "Kugellager", "шайба", "x-ray (old)", "s_w image"]
    assert [labels.match(folder) for folder in found[:4]] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "names", [["a/b", "a_b", "A_B"], ["A (2)", "a", "A"], ["?", "!", "..."], [f"class {k}" for k in range(300)]]
)
def test_names_that_would_meet_are_numbered(names: list[str]) -> None:
    assert len({name.casefold() for name in folder_names(names)}) == len(names)


def test_nothing_is_written_over(tmp_path: Path) -> None:
    check_destination(tmp_path / "new" / "place")
    (tmp_path / "empty").mkdir()
    check_destination(tmp_path / "empty")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.png").write_bytes(b"")
    (tmp_path / "file").write_bytes(b"")
    for name, said in (("full", "holds files already"), ("file", "is not a folder"), ("file/x", "is no folder")):
        with pytest.raises(InputError, match=said):
            check_destination(tmp_path / name)
