"""A Jetson's power mode is a name, whether the tool says it or the files that the tool keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
from copied_board import copied, expected, sample
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedistill.targets.nvpmodel import parse_default, parse_files, parse_query, power_mode, shipped_mode

CONFIGURATION = """# a comment
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online

< POWER_MODEL ID=0 NAME=15W >
CPU_ONLINE CORE_0 1
< POWER_MODEL ID=1 NAME=25W >
< POWER_MODEL ID=2 NAME=MAXN_SUPER >
< PM_CONFIG DEFAULT=1 >
"""


def test_the_line_is_found_among_warnings_and_an_error_is_no_mode() -> None:
    assert parse_query("NVPM WARN: fan mode is not set!\nNV Power Mode: MODE_20W_6CORE\n8\n") == "MODE_20W_6CORE"
    assert parse_query("NVPM ERROR: request for bad power mode 2\n") is None
    assert parse_query("NV Power Mode:\n2\n") is None


@pytest.mark.parametrize(
    ("status", "name"),
    [("pmode:0002\nfmode:quiet", "MAXN_SUPER"), ("pmode:0000", "15W"), ("pmode:9", None), ("", None)],
)
def test_in_a_container_the_tools_files_do(tmp_path: Path, status: str, name: str | None) -> None:
    assert power_mode(copied(tmp_path, {"var/lib/nvpmodel/status": status, "etc/nvpmodel.conf": CONFIGURATION})) == name


def test_a_machine_without_either_has_no_mode(tmp_path: Path) -> None:
    assert power_mode(tmp_path) is None
    assert shipped_mode(tmp_path) is None


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("< PM_CONFIG DEFAULT=1 >", "25W"),
        ("< PM_CONFIG DEFAULT=0 >", "15W"),
        ("<PM_CONFIG  DEFAULT=2>", "MAXN_SUPER"),
        ("< PM_CONFIG DEFAULT=7 >", None),
        ("# < PM_CONFIG DEFAULT=0 >", None),
        ("", None),
    ],
)
def test_one_module_ships_in_the_mode_that_it_was_flashed_with(tmp_path: Path, said: str, name: str | None) -> None:
    configuration = CONFIGURATION.replace("< PM_CONFIG DEFAULT=1 >", said)
    assert shipped_mode(copied(tmp_path, {"etc/nvpmodel.conf": configuration})) == name


def test_the_tool_itself_is_asked_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvpmodel"
    tool.write_text('#!/bin/sh\nprintf "NV Power Mode: %s\\n1\\n" 25W\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert power_mode() == "25W"


@settings(max_examples=30)
@given(st.text(), st.text())
def test_nothing_raises(status: str, configuration: str) -> None:
    parse_query(status)
    parse_files(status, configuration)
    parse_default(configuration)


@settings(max_examples=30)
@given(st.integers(0, 99), st.from_regex(r"[A-Z0-9_]{1,20}", fullmatch=True))
def test_a_name_is_read_back(number: int, name: str) -> None:
    assert parse_query(f"NV Power Mode: {name}\n{number}\n") == name
    assert parse_files(f"pmode:{number:04}\n", f"< POWER_MODEL ID={number} NAME={name} >\n") == name


def test_the_names_of_samples() -> None:
    wanted = expected("nvpmodel_q.txt")
    found = {case: parse_query(text) for case, text in sample("nvpmodel_q.txt").items()}
    assert found == {case: told.get("name") for case, told in wanted.items()}
