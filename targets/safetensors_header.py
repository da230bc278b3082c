"""The header of a safetensors file, checked before the library opens it.

The format (github.com/huggingface/safetensors, "Format"): 8 bytes, the header's length as an unsigned little-endian
number; a JSON object, name -> dtype, shape, data_offsets, and `__metadata__`, texts by name; then the bytes of the
tensors, one after the other without a hole. The library checks this too, but takes headers of up to 100 MB.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from .outside import Limits, Unfit, as_object, parse_json

LIMITS = Limits(16 << 20, depth=4, values=1_000_000)
MOST_TENSORS = 100_000
_PREFIX = 8


def read_header(path: str | Path) -> dict[str, Any]:
    """The header of the file at `path`: its tensors and `__metadata__`. Raises Unfit where it is not whole."""
    size = os.stat(path).st_size
    if not os.path.isfile(path):
        raise Unfit("is not a file")
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(_PREFIX), "little")
        if size < _PREFIX or length > size - _PREFIX:
            raise Unfit(f"is cut: {size:,} bytes, and a header of {length:,} is promised")
        if length > LIMITS.size:
            raise Unfit(f"has a header of {length:,} bytes, at most {LIMITS.size:,} are read")
        header = as_object(parse_json(file.read(length), LIMITS))
    check_header(header, size - _PREFIX - length)
    return header


def check_header(header: dict[str, Any], data: int) -> None:
    """Raise Unfit unless the tensors of `header` fill the `data` bytes behind it."""
    if len(header) > MOST_TENSORS:
        raise Unfit(f"names {len(header):,} tensors, at most {MOST_TENSORS:,} are read")
    metadata = header.get("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise Unfit("has a __metadata__ that is not texts by name")
    places = sorted(_place(name, entry) for name, entry in header.items() if name != "__metadata__")
    end = 0
    for begin, until, name in places:
        if begin != end:
            raise Unfit(f"has a hole or an overlap before the tensor {name!r}")
        end = until
    if end != data:
        raise Unfit(f"holds {data:,} bytes of tensors, and {end:,} are promised")


def _place(name: str, entry: Any) -> tuple[int, int, str]:
    """(begin, end, name) of a tensor's bytes."""
    about = entry if isinstance(entry, dict) else {}
    offsets, shape = about.get("data_offsets", ()), about.get("shape", ())
    if not (_sizes(offsets) and _sizes(shape)) or len(offsets) != 2 or not isinstance(about.get("dtype"), str):
        raise Unfit(f"describes the tensor {name!r} otherwise than by dtype, shape and data_offsets")
    begin, end = offsets
    numbers, taken = math.prod(shape), end - begin
    if taken < 0 or (taken == 0) != (numbers == 0):
        raise Unfit(f"gives the tensor {name!r} of shape {shape} {taken:,} bytes")
    return begin, end, name


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 2**63 for number in value)
