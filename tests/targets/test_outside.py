"""What a stranger's file may be is decided before it is read, and the reason is said in a few words."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedistill.targets.outside import Limits, Unfit, parse_json, read_bytes, read_json, read_object, read_text

TIGHT = Limits(1000, depth=3, values=20)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
@settings(max_examples=50, deadline=None)
def test_what_json_holds_is_read_as_it_was_written(value: object) -> None:
    assert parse_json(json.dumps(value).encode()) == value
    assert parse_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")) == value


@given(st.binary(max_size=60))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_value_or_unfit(data: bytes) -> None:
    with contextlib.suppress(Unfit):
        parse_json(data, TIGHT)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b" " * 1001, "holds 1,001 bytes, at most 1,000 are read"),
        (b"[[[[]]]]", "nested deeper than 3 levels"),
        (b"[" + b"1," * 30 + b"1]", "holds some 31 values, at most 20"),
        (b'{"a": 1, "b": 2, "a": 3}', "has the key 'a' twice"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": 1e999}', "1e999 is too large for a number"),
        (b"[-1e999]", "-1e999 is too large"),
        (b'{"a": ', "is not valid JSON"),
        (b'"\xff"', "is not valid JSON"),
        (b"9" * 5000, "holds 5,000 bytes"),
        (rb'{"file": "a\ud800b"}', "half of a character in a text: 'a"),
        (rb'{"\uDFFF": 1}', "half of a character"),
    ],
)
def test_what_is_too_much_or_two_things_at_once_is_unfit(data: bytes, why: str) -> None:
    with pytest.raises(Unfit, match=why):
        parse_json(data, TIGHT)


def test_whole_characters_and_bytes_that_are_no_utf8_are_read() -> None:
    assert parse_json(rb'["\ud83d\ude00", "caf\udce9"]', TIGHT) == ["\U0001f600", "caf\udce9"]


def test_brackets_inside_texts_are_not_counted() -> None:
    assert parse_json(rb'{"a": "[[[[ \" [[[[ \\"}', TIGHT) == {"a": '[[[[ " [[[[ \\'}


def test_only_files_are_read_and_no_pipe_is_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, why in ((tmp_path / "pipe", "is not a file"), (Path("/dev/zero"), "is not a file"), (tmp_path, "folder")):
        with pytest.raises(Unfit, match=why):
            read_bytes(path, 10)
    with pytest.raises(FileNotFoundError):
        read_bytes(tmp_path / "absent", 10)


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "ten").write_bytes(b"x" * 10)
    assert read_bytes(tmp_path / "ten", 10) == b"x" * 10
    with pytest.raises(Unfit, match="holds 10 bytes, at most 9 are read"):
        read_bytes(tmp_path / "ten", 9)


def test_a_byte_order_mark_is_passed_over_and_what_is_no_utf8_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_text(path, 100) == '{"a": 1}'
    assert read_json(path) == {"a": 1}
    path.write_bytes(b"one\ntw\xf6")
    with pytest.raises(Unfit, match=r"is not UTF-8 \(line 2, byte 0xf6\)"):
        read_text(path, 100)


def test_a_list_is_no_object(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[1]")
    with pytest.raises(Unfit, match="holds a JSON list, not an object"):
        read_object(tmp_path / "x.json")
