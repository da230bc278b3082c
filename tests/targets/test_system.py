"""A probe never fails: what is not there, or is not what it should be, is nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_the_kernels_lists_of_processors() -> None:
    assert system.cpu_list("0-3,6") == [0, 1, 2, 3, 6]
    assert system.cpu_list("5") == [5]
    assert system.cpu_list("") == system.cpu_list("all") == system.cpu_list("3-") == []


@settings(max_examples=30)
@given(st.sets(st.integers(0, 300)))
def test_a_list_is_read_back(cores: set[int]) -> None:
    assert system.cpu_list(",".join(map(str, sorted(cores)))) == sorted(cores)


def test_a_tool_counts_only_when_it_is_there_and_succeeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert system.tool("asked") == ""
    for code, said in ((0, "fine"), (1, "")):
        (tmp_path / "asked").write_text(f"#!/bin/sh\necho fine\nexit {code}\n")
        (tmp_path / "asked").chmod(0o755)
        assert system.tool("asked").strip() == said
