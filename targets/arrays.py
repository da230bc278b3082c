"""Arrays as numpy.save and numpy.savez write them (NEP 1), their headers checked before any memory is taken.

numpy's own reader believes the header: a shape of a million million numbers is memory asked for, and a header is an
expression that it evaluates. Here a header is matched, and what it promises has to be what the file holds.
"""

from __future__ import annotations

import io
import math
import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from .outside import Unfit, read_bytes, regular_size

MAGIC = b"\x93NUMPY"
LONGEST_HEADER = 4096
MOST_MEMBERS = 64
BLOCK = 1 << 20  # bytes that are unpacked at once
_ENTRY = b"PK\1\2"  # a member's begin in a zip's directory
_HEADER = re.compile(
    r"\{'descr': '(?P<dtype>[<>|=]?[biufc?]\d{0,2})', 'fortran_order': (?P<fortran>True|False), "
    r"'shape': \((?P<shape>(?:\d{1,18}(?:, ?\d{1,18})*,?)?)\),? ?\} *\n?",
    re.ASCII,
)


def read_npy(path: str | Path, most: int, *, mapped: bool = False) -> np.ndarray:
    """The array of an .npy file of at most `most` bytes: of numbers or booleans. `mapped`: left on disk, read-only.

    Raises Unfit for anything else than a header and exactly the numbers that it promises.
    """
    if not mapped:
        return parse_npy(read_bytes(path, most))
    size = regular_size(path)
    if size > most:
        raise Unfit(f"holds {size:,} bytes, at most {most:,} are read")
    start = _first_bytes(path, len(MAGIC) + 6 + LONGEST_HEADER)
    dtype, order, shape, begin = _header(start, size)
    if not math.prod(shape):
        return np.empty(shape, dtype, order)
    return np.memmap(path, dtype, "r", begin, shape, order)


def parse_npy(data: bytes) -> np.ndarray:
    """The array in the bytes of an .npy file, a copy that may be written to."""
    dtype, order, shape, begin = _header(data[: len(MAGIC) + 6 + LONGEST_HEADER], len(data))
    return np.frombuffer(data, dtype, offset=begin).reshape(shape, order=order).copy(order)


def read_npz(path: str | Path, most: int) -> dict[str, np.ndarray]:
    """The arrays of an .npz file by their names; the file, and its arrays unpacked, hold at most `most` bytes each.

    Members are stored or deflated, as numpy writes them, and are unpacked in blocks: one that holds more than its
    directory says is left there. Raises Unfit for a damaged archive, one that would grow beyond `most`, and members
    that are no arrays.
    """
    try:
        data = read_bytes(path, most)
        if (count := data.count(_ENTRY)) > MOST_MEMBERS:  # before zipfile makes an object of each
            raise Unfit(f"has {count:,} members, at most {MOST_MEMBERS} are read")
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > most:
                raise Unfit(f"would hold more than {most:,} bytes unpacked")
            found: dict[str, np.ndarray] = {}
            for member in members:
                name = _stem(member.filename)
                if name in found:
                    raise Unfit(f"holds {name[:40]!r} twice")
                found[name] = parse_npy(_unpacked(archive, member))
            return found
    except Unfit:
        raise
    # What zipfile raises for a damaged archive, by where the damage is; RuntimeError: a member with a password.
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        NotImplementedError,
        RuntimeError,
        EOFError,
        ValueError,
        OSError,
    ) as error:
        if isinstance(error, OSError) and error.filename is not None:
            raise
        raise Unfit(f"is not a whole .npz: {error}") from error


def _unpacked(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    """What a member holds, which has to be as much as the directory says.

    Of the ways to compress, those of zlib alone can be asked for so many bytes and no more: a kilobyte of bzip2 may be
    gigabytes, and the module makes them all at once.
    """
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise Unfit(f"has {member.filename[:40]!r} compressed otherwise than by deflate")
    data = bytearray()
    with archive.open(member) as file:
        while len(data) <= member.file_size and (block := file.read(BLOCK)):
            data += block
    if len(data) != member.file_size:
        raise Unfit(f"has {member.filename[:40]!r} of another length than its {member.file_size:,} bytes")
    return bytes(data)


def _stem(member: str) -> str:
    return member[: -len(".npy")] if member.endswith(".npy") else member


def _header(start: bytes, size: int) -> tuple[np.dtype, Literal["C", "F"], tuple[int, ...], int]:
    """(dtype, order, shape, where the numbers begin) of a file of `size` bytes that begins with `start`."""
    if start[: len(MAGIC)] != MAGIC or len(start) < len(MAGIC) + 6 or start[6] not in (1, 2, 3):
        raise Unfit("is not an .npy array")
    wide = 2 if start[6] == 1 else 4
    length = int.from_bytes(start[8 : 8 + wide], "little")
    begin = 8 + wide + length
    if length > LONGEST_HEADER:
        raise Unfit(f"has a header of {length:,} bytes, at most {LONGEST_HEADER:,} are read")
    said = _HEADER.fullmatch(start[8 + wide : begin].decode("latin-1"))
    if said is None:
        raise Unfit("has a header that numpy.save does not write, or holds something else than numbers")
    try:
        dtype = np.dtype(said["dtype"])
    except TypeError as error:
        raise Unfit(f"holds {said['dtype']}, which is no kind of number") from error
    shape = tuple(int(number) for number in re.findall(r"\d+", said["shape"]))
    promised = dtype.itemsize * math.prod(shape)
    if promised != size - begin or len(shape) > 32:
        raise Unfit(f"promises {dtype} {list(shape)}, {promised:,} bytes, and holds {max(0, size - begin):,}")
    return dtype, "F" if said["fortran"] == "True" else "C", shape, begin


def _first_bytes(path: str | Path, count: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(count)
