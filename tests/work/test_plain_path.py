"""Libraries that take no path but UTF-8 are given one."""

from __future__ import annotations

import os
from pathlib import Path

from edgedistill.work.plain_path import is_plain, plain_path


def test_a_path_that_is_not_utf_8_gets_another_name_for_as_long(tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    odd.mkdir()
    (odd / "x.safetensors").write_text("weights")
    with plain_path(odd / "x.safetensors") as file, plain_path(odd) as folder:
        assert is_plain(file)
        assert is_plain(folder)
        assert file.suffix == ".safetensors"
        assert file.read_text() == (folder / "x.safetensors").read_text() == "weights"
    assert not file.exists()
    assert (odd / "x.safetensors").is_file()


def test_any_other_path_stays_as_it_is(tmp_path: Path) -> None:
    with plain_path(tmp_path / "größer") as path:
        assert path == tmp_path / "größer"
