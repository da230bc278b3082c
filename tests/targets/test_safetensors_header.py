"""The header of a safetensors file fits its bytes, or the file is not opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgedistill.targets.outside import Unfit
from edgedistill.targets.safetensors_header import read_header

ONE = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def written(folder: Path, header: Any, data: bytes = bytes(8), length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = folder / "x.safetensors"
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def test_a_whole_file_is_read(tmp_path: Path) -> None:
    header = {"__metadata__": {"json": "{}"}, "a": ONE}
    assert read_header(written(tmp_path, header)) == header


@pytest.mark.parametrize(
    ("header", "length", "why"),
    [
        ({"a": ONE}, 2**63, "is cut"),
        ({"a": ONE}, 3, "is not valid JSON"),
        ({"a": ONE | {"data_offsets": [0, 12]}}, None, "12 are promised"),
        ({"a": ONE | {"data_offsets": [4, 8]}}, None, "a hole or an overlap before the tensor 'a'"),
        ({"a": ONE, "b": ONE}, None, "a hole or an overlap"),
        ({"a": ONE | {"shape": [2**62, 2**62]}, "b": 1}, None, "describes the tensor 'b' otherwise"),
        ({"a": ONE | {"shape": [-2]}}, None, "describes the tensor 'a' otherwise"),
        ({"a": ONE | {"shape": [0]}}, None, r"of shape \[0\] 8 bytes"),
        ({"__metadata__": {"json": 1}, "a": ONE}, None, "not texts by name"),
        ([], None, "not an object"),
        (b'{"a": {}, "a": {}}', None, "the key 'a' twice"),
        (b"[" * 100, None, "nested deeper than 4"),
    ],
)
def test_any_other_header_is_unfit(tmp_path: Path, header: Any, length: int | None, why: str) -> None:
    with pytest.raises(Unfit, match=why):
        read_header(written(tmp_path, header, length=length))


def test_an_empty_file_is_unfit(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").touch()
    with pytest.raises(Unfit, match="is cut"):
        read_header(tmp_path / "x.safetensors")
