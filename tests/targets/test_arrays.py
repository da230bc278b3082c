"""An array file holds exactly what its header promises, or nothing is made of it."""

from __future__ import annotations

import io
import os
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgedistill.targets.arrays import parse_npy, read_npy, read_npz
from edgedistill.targets.outside import Unfit


def saved(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "array",
    [
        np.arange(12, dtype=np.float32).reshape(3, 4), np.zeros(0), np.array(3), np.ones((2, 3), bool),
        np.zeros((0, 5)),
        np.asfortranarray(np.arange(6).reshape(2, 3)), np.arange(3, dtype=">i2"), np.zeros(2, np.complex64),
    ],
    ids=str,
)  # fmt: skip
def test_what_numpy_saves_is_read_in_memory_and_from_disk(tmp_path: Path, array: np.ndarray) -> None:
    (tmp_path / "a.npy").write_bytes(saved(array))
    for read in (read_npy(tmp_path / "a.npy", 10_000), read_npy(tmp_path / "a.npy", 10_000, mapped=True)):
        assert (read.dtype, read.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(read, array)


@pytest.mark.parametrize("mapped", [False, True])
def test_a_pipe_is_unfit_and_never_waited_for(tmp_path: Path, mapped: bool) -> None:
    os.mkfifo(tmp_path / "a.npy")
    with pytest.raises(Unfit, match="is not a file"):
        read_npy(tmp_path / "a.npy", 10_000, mapped=mapped)


def header(text: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + data


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (saved(np.zeros(4))[:-1], "promises float64"),
        (saved(np.zeros(4)) + b"x", "promises float64"),
        (saved(np.zeros(4)).replace(b"(4,)", b"(9" + b"9" * 15 + b",)")[:144], "promises|header"),
        (
            header("{'descr': '<f8', 'fortran_order': False, 'shape': (999999999999, 999999999999), }"),
            "promises float64",
        ),
        (
            header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", b"cos\nsystem\n"),
            "something else than numbers",
        ),
        (header("__import__('os')"), "something else than numbers"),
        (b"\x93NUMPY\x02\x00" + b"\xff" * 4, "a header of 4,294,967,295 bytes"),
        (b"", "is not an .npy array"),
        (b"PK\x03\x04", "is not an .npy array"),
    ],
)
def test_any_other_header_is_unfit(data: bytes, why: str) -> None:
    with pytest.raises(Unfit, match=why):
        parse_npy(data)


def test_an_archive_is_read_by_the_names_in_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", one=np.arange(3), two=np.zeros((2, 2)))
    found = read_npz(tmp_path / "a.npz", 10_000)
    assert list(found) == ["one", "two"]
    assert found["one"].tolist() == [0, 1, 2]


def test_an_archive_that_would_burst_is_unfit(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1_000_000))
    assert (tmp_path / "a.npz").stat().st_size < 20_000
    with pytest.raises(Unfit, match="more than 20,000 bytes unpacked"):
        read_npz(tmp_path / "a.npz", 20_000)


def bomb(compression: int, size: int, said: int) -> bytes:
    """An archive of one member of `size` zeros, whose directory says that there are `said`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("a.npy", bytes(size))
    data = bytearray(buffer.getvalue())
    place = data.rfind(b"PK\1\2") + 24
    data[place : place + 4] = said.to_bytes(4, "little")
    return bytes(data)


@pytest.mark.parametrize(
    ("compression", "why"),
    [
        (zipfile.ZIP_BZIP2, "compressed otherwise than by deflate"),
        (zipfile.ZIP_LZMA, "compressed otherwise than by deflate"),
        (zipfile.ZIP_DEFLATED, "not a whole|another length"),
    ],
)
def test_an_archive_whose_directory_lies_takes_no_memory(tmp_path: Path, compression: int, why: str) -> None:
    (tmp_path / "a.npz").write_bytes(bomb(compression, 60_000_000, 100))
    tracemalloc.start()
    try:
        with pytest.raises(Unfit, match=why):
            read_npz(tmp_path / "a.npz", 256 << 20)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_an_archive_of_many_members_is_unfit_before_it_is_opened(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        for index in range(65):
            archive.writestr(f"{index}.npy", b"")
    with pytest.raises(Unfit, match="has 65 members, at most 64"):
        read_npz(tmp_path / "a.npz", 100_000)


def test_an_array_that_is_there_twice_is_unfit(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", saved(np.zeros(1)))
        archive.writestr("a", saved(np.ones(1)))
    with pytest.raises(Unfit, match="holds 'a' twice"):
        read_npz(tmp_path / "a.npz", 100_000)


def test_an_archive_with_other_members_or_damage_is_unfit(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../outside.npy", b"text")
    with pytest.raises(Unfit, match=r"is not an \.npy array"):
        read_npz(path, 10_000)
    assert [one.name for one in tmp_path.iterdir()] == ["a.npz"]
    path.write_bytes(b"not an archive")
    with pytest.raises(Unfit, match=r"is not a whole \.npz"):
        read_npz(path, 10_000)
