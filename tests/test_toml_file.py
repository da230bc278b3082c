"""A TOML file is short and flat, or it is not read."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedistill.errors import InputError
from edgedistill.targets.outside import Unfit
from edgedistill.toml_file import read_toml


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("toml") / "x.toml"


def test_a_table_is_read_with_a_byte_order_mark_or_without(path: Path) -> None:
    for mark in (b"", b"\xef\xbb\xbf"):
        path.write_bytes(mark + b'a = [1, 2]\nnote = "see [[1], 3.5.1"\n[b.c]\nd = "x"\n')
        assert read_toml(path) == {"a": [1, 2], "note": "see [[1], 3.5.1", "b": {"c": {"d": "x"}}}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a = " + "[" * 17 + "]" * 17, "nested deeper than 16"),
        ("a" + ".a" * 40 + " = 1", "more than 32 dots"),
        ("#" * 65_537, "at most 65,536 are read"),
        ("a = 1\na = 2", "is not valid TOML"),
        ("a = " + "9" * 5000, "is not valid TOML"),
    ],
)
def test_what_is_too_much_or_no_toml_is_unfit(path: Path, text: str, why: str) -> None:
    path.write_text(text)
    with pytest.raises(Unfit, match=why):
        read_toml(path)


@given(st.binary(max_size=40) | st.text("a.=[]{}\"'#1\n", max_size=40).map(str.encode))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_table_or_unfit(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    with contextlib.suppress(Unfit, InputError):
        assert isinstance(read_toml(path), dict)
