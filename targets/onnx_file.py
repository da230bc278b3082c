"""What an ONNX file may be, looked at before a runtime opens it: without onnx, which no board needs.

An ONNX file is a protobuf message (onnx.proto3 names the fields by number; wire types as in "Encoding", protobuf.dev).
Only its skeleton is read, never a weight. Two things are looked for:

- weights that lie in files of their own (`external_data`): these may lie beside the model or below its folder, nowhere
  else;
- a compiled engine in the place of a graph (com.microsoft's EPContext), which nobody can check: refused.

A library of operators of its own can be named by no ONNX file; only a program that opens one can load it, and this one
never does (a test reads the code for it).
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from .errors import TargetError
from .outside import Unfit

MOST_BYTES = 8 << 30
MOST_FIELDS = 3_000_000
DEEPEST = 16  # a graph inside a node of a graph ...
ENGINE = b"EPContext"

# message -> field -> what stands in it; fields that are not named are passed over.
_MESSAGES: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Node": {4: "operator", 5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse"},
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "External"},
    "External": {1: "key", 2: "value"},
}
_VARINT, _EIGHT, _BYTES, _FOUR = 0, 1, 2, 5

Span = tuple[int, int]


def check_onnx(path: str | Path) -> None:
    """Raise Unfit unless the file is an ONNX model that names no file outside its folder and holds no engine."""
    size = os.stat(path).st_size
    if not os.path.isfile(path):
        raise Unfit("is not a file")
    if not 0 < size <= MOST_BYTES:
        raise Unfit(f"holds {size:,} bytes, an ONNX model holds from 1 to {MOST_BYTES:,}")
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for location in _Skeleton(data).external_files():
            _check_location(location, Path(path).parent)


def require_onnx(path: str | Path) -> None:
    """`check_onnx`, in two lines: TargetError names the file and what is wrong with it."""
    try:
        check_onnx(path)
    except OSError as error:
        raise TargetError(f"cannot read {path}: {error.strerror}", "Check the path and its permissions.") from error
    except Unfit as error:
        raise TargetError(f"cannot load {path}: it {error}", "Check that the file is whole, and its own.") from error


class _Skeleton:
    """A walk over the messages of one file, from the outermost in."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data = data
        self._left = MOST_FIELDS

    def external_files(self) -> set[str]:
        """The files that tensors name as the place of their weights. Raises Unfit for what is no ONNX model."""
        found: set[str] = set()
        waiting = [("Model", (0, len(self._data)), 0)]
        graphs = 0
        while waiting:
            message, span, depth = waiting.pop()
            if depth > DEEPEST:
                raise Unfit(f"has graphs nested deeper than {DEEPEST} levels")
            graphs += message == "Graph"
            if message == "External":
                found |= self._location(span)
                continue
            for field, part in self._fields(span):
                inner = _MESSAGES[message].get(field)
                if inner == "operator":
                    self._check_operator(part)
                elif inner is not None:
                    waiting.append((inner, part, depth + (inner == "Graph")))
        if not graphs:
            raise Unfit("is not an ONNX model: it has no graph")
        return found

    def _check_operator(self, span: Span) -> None:
        if self._data[span[0] : span[1]] == ENGINE:
            raise Unfit("holds an engine that was compiled elsewhere (EPContext), not a graph")

    def _location(self, span: Span) -> set[str]:
        """The value of an entry of external_data whose key is `location`."""
        texts: dict[int, list[bytes]] = {1: [], 2: []}
        for field, (begin, end) in self._fields(span):
            if field in texts:
                texts[field].append(self._data[begin:end])
        return {os.fsdecode(value) for value in texts[2]} if b"location" in texts[1] else set()

    def _fields(self, span: Span) -> Iterator[tuple[int, Span]]:
        """(number, place) of the fields of a message that have bytes."""
        at, end = span
        while at < end:
            self._left -= 1
            if self._left < 0:
                raise Unfit(f"has more than {MOST_FIELDS:,} parts")
            tag, at = self._varint(at, end)
            kind = tag & 7
            if kind == _VARINT:
                _, at = self._varint(at, end)
                continue
            if kind == _BYTES:
                length, at = self._varint(at, end)
            elif kind in (_EIGHT, _FOUR):
                length = 8 if kind == _EIGHT else 4
            else:
                raise Unfit(f"is not an ONNX model: byte {at:,} is no field")
            if length > end - at:
                raise Unfit(f"is not a whole ONNX model: byte {at:,} begins {length:,} bytes, {end - at:,} are there")
            if kind == _BYTES:
                yield tag >> 3, (at, at + length)
            at += length

    def _varint(self, at: int, end: int) -> tuple[int, int]:
        """(value, where it ends) of the number that begins at `at`."""
        value = 0
        for shift in range(0, 70, 7):
            if at >= end:
                break
            byte = self._data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at
        raise Unfit(f"is not a whole ONNX model: the number before byte {at:,} does not end")


def _check_location(location: str, folder: Path) -> None:
    parts = PurePosixPath(location).parts
    plain = bool(parts) and not location.startswith("/") and ".." not in parts and not set("\\:\0") & set(location)
    try:
        inside = plain and (folder / location).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):  # a loop of links
        inside = False
    if not inside:
        raise Unfit(f"keeps weights in {location!r}, which is not a path inside its folder")
