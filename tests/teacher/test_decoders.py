"""Processes that decode: the same images for any number of them, and none that outlives its parent."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tiny_images import write_photos

from edgedistill.errors import InputError
from edgedistill.images.pool import Pool, scan
from edgedistill.targets.preprocess import BadImage
from edgedistill.teacher.centre_view import CentreView
from edgedistill.teacher.decoders import CHUNK, DecoderDied, decoded
from edgedistill.teacher.decoding import Preparation, Prepared

PREPARE = Preparation(CentreView(24, "bicubic", "shortest"), short_side=40)
PHOTOS = 3 * CHUNK + 2


class Files:
    """Files' bytes, in memory."""

    def __init__(self, files: list[bytes]) -> None:
        self.files = files
        self.hashes = np.stack([np.frombuffer(hashlib.sha256(data).digest(), np.uint8) for data in files])

    def read(self, row: int) -> bytes:
        return self.files[row]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    return scan(write_photos(tmp_path_factory.mktemp("pool") / "photos", PHOTOS))


def same(one: Prepared | BadImage, other: Prepared | BadImage) -> bool:
    if isinstance(one, BadImage) or isinstance(other, BadImage):
        return isinstance(one, BadImage) and isinstance(other, BadImage) and one.reason == other.reason
    return (
        np.array_equal(one.pixels, other.pixels)
        and np.array_equal(one.centre, other.centre)
        and one.dhash == other.dhash
    )


@pytest.mark.parametrize("processes", [1, 3])
def test_images_come_in_order_as_this_process_would_make_them(pool: Pool, processes: int) -> None:
    images = list(decoded(pool, range(1, PHOTOS), PREPARE, processes))
    assert len(images) == PHOTOS - 1
    assert all(same(image, PREPARE(pool.read(row))) for row, image in enumerate(images, start=1))


def test_a_file_that_is_no_image_comes_back_as_the_reason(pool: Pool) -> None:
    good, long = pool.read(0), pool.read(1) * 40
    source = Files([good, b"not an image", good[: len(good) // 2], b"", long])
    images = list(decoded(source, range(5), PREPARE, 1))
    assert [isinstance(image, BadImage) for image in images] == [False, True, True, True, False]
    assert all(same(image, PREPARE(data)) for image, data in zip(images, source.files))


def test_what_reading_raises_is_raised_here(pool: Pool) -> None:
    class Changed(Files):
        def read(self, row: int) -> bytes:
            if row == CHUNK + 1:
                raise InputError("photo changed", "Put it back.")
            return super().read(row)

    images = decoded(Changed([pool.read(row) for row in range(PHOTOS)]), range(PHOTOS), PREPARE, 2)
    with pytest.raises(InputError, match="photo changed"):
        list(images)


def children() -> list[int]:
    """Processes of this one that decode."""
    listed = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "pid=,args="], capture_output=True, text=True)
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if "teacher.decoder" in line]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")


@needs_proc
def test_a_process_that_dies_is_told_with_the_photos_it_was_at(pool: Pool) -> None:
    images = decoded(pool, range(PHOTOS), PREPARE, 1)
    next(images)
    (child,) = children()
    os.kill(child, signal.SIGKILL)
    with pytest.raises(DecoderDied, match="signal 9") as caught:
        list(images)
    assert any(pool.name(row) in caught.value.wrong for row in range(PHOTOS))


@needs_proc
def test_the_processes_end_with_the_pass(pool: Pool) -> None:
    images = decoded(pool, range(PHOTOS), PREPARE, 2)
    next(images)
    assert len(children()) == 2
    images.close()
    assert not children()


@needs_proc
def test_they_die_with_a_parent_that_was_killed(tmp_path: Path, pool: Pool) -> None:
    program = f"""
import subprocess, sys, time
from pathlib import Path
from edgedistill.images.pool import scan
from edgedistill.teacher.centre_view import CentreView
from edgedistill.teacher.decoders import decoded
from edgedistill.teacher.decoding import Preparation
prepare = Preparation(CentreView(24, "bicubic", "shortest"), 40)
images = decoded(scan(Path({str(pool.folder)!r})), range({PHOTOS}), prepare, 2)
next(images)
print("ready", flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    assert parent.stdout.readline() == "ready\n"
    listed = subprocess.run(["ps", "--ppid", str(parent.pid), "-o", "pid="], capture_output=True, text=True)
    pids = [int(line) for line in listed.stdout.split()]
    assert len(pids) == 2
    parent.kill()
    parent.wait()
    for _ in range(200):
        if all(map(gone, pids)):
            return
        time.sleep(0.05)
    raise AssertionError("a decoding process outlived its parent")


def test_a_decoding_process_never_loads_torch() -> None:
    program = "import sys, edgedistill.teacher.decoder; sys.exit('torch' in sys.modules or 'open_clip' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0


@pytest.mark.skipif(sys.version_info < (3, 11), reason="before, python -m always looks there first")
def test_the_folder_a_build_stands_in_is_not_searched_for_modules(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    assert same(next(decoded(pool, range(1), PREPARE, 1)), PREPARE(pool.read(0)))
