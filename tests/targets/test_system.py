"""A probe never fails: what is not there, or is not what it should be, is nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedistill.targets import system


def test_a_missing_file_and_a_folder_are_nothing(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        assert (system.text(path), system.whole_number(path), system.strings(path)) == ("", None, [])


@pytest.mark.parametrize(
    ("content", "number"),
    [("42\n", 42), ("-256000", -256_000), ("4.2", None), ("", None), ("٣", None), ("9" * 30, None)],
)
def test_only_a_decimal_integer_is_a_number(tmp_path: Path, content: str, number: int | None) -> None:
    (tmp_path / "value").write_text(content, encoding="utf-8")
    assert system.whole_number(tmp_path / "value") == number


def test_a_tool_counts_only_when_it_is_there_and_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert system.tool("asked") == ""
    for code, said in ((0, "fine"), (1, "")):
        (tmp_path / "asked").write_text(f"#!/bin/sh\necho fine\nexit {code}\n")
        (tmp_path / "asked").chmod(0o755)
        assert system.tool("asked").strip() == said
