"""A full disk and a full memory are told in two lines, whoever met them; nothing else is taken for one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgedistill.errors import EdgeDistillError, InputError
from edgedistill.work.shortage import explained, shortages_explained

LARGE = 1 << 50


def fill_a_disk(way: str) -> None:
    with open("/dev/full", "wb") as file:
        if way == "numpy":
            np.zeros(1 << 16).tofile(file)
        else:
            file.write(b"x")
            file.flush()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("way", ["python", "numpy"])
def test_a_full_disk_is_told_with_the_place(tmp_path: Path, way: str) -> None:
    with (
        pytest.raises(InputError, match=r"no room left for .*MiB free") as caught,
        shortages_explained(tmp_path / "work"),
    ):
        fill_a_disk(way)
    assert caught.value.exit_code == 2
    assert "run the same command" in caught.value.todo


def torch_asks() -> None:
    import torch

    torch.empty(LARGE, dtype=torch.uint8)


def numpy_asks() -> None:
    np.empty(LARGE, np.uint8).fill(1)


@pytest.mark.parametrize("asks", [torch_asks, numpy_asks])
def test_a_full_memory_is_told(asks: object) -> None:
    with pytest.raises(InputError, match="the machine's memory is full") as caught, shortages_explained():
        asks()  # type: ignore[operator]
    assert "run the same command" in caught.value.todo


@pytest.mark.workshop
def test_a_library_that_cannot_be_loaded_for_want_of_memory_is_told() -> None:
    """Under `ulimit -v` the import of torch is the first to fail."""
    program = """
import resource, sys
from edgedistill.work.shortage import shortages_explained
resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))
try:
    with shortages_explained():
        import torch
except Exception as error:
    print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "InputError\n", done.stderr


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EACCES, os.strerror(errno.EACCES), "there"),
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (1x2 and 3x4)"),
        ImportError("cannot import name 'x' from 'y'"),
        EdgeDistillError("No space left on device was said", "Leave it."),
    ],
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, shortages_explained():
        raise error
    assert caught.value is error


def test_words_that_bring_no_type_are_known() -> None:
    assert explained(RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc")) is not None
    assert explained(RuntimeError("could not create a primitive")) is not None
    assert explained(OSError("16 requested and 0 written")) is not None
