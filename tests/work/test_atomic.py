"""Files appear whole or not at all, and their names come from their content."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.errors import InputError
from edgedistill.targets import atomic as targets_atomic
from edgedistill.work import atomic

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def test_a_file_is_replaced_whole_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    atomic.write_bytes(path, b"old")
    atomic.write_bytes(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_a_writer_killed_midway_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    atomic.write_bytes(path, b"old")
    # SIGKILL arrives while the new bytes are being synced: they are written, but not yet under the file's name.
    program = (
        "import os, signal, sys, pathlib\n"
        "os.fsync = lambda descriptor: os.kill(os.getpid(), signal.SIGKILL)\n"
        "from edgedistill.work import atomic\n"
        "atomic.write_bytes(pathlib.Path(sys.argv[1]), b'new' * 1000)\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"


def test_a_full_disk_says_how_much_is_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    atomic.write_bytes(path, b"old")
    monkeypatch.setattr(os, "fsync", _no_space)
    with pytest.raises(InputError, match=r"no room for .*a\.bin: 4\.0 MiB needed, .* free"):
        atomic.write_bytes(path, bytes(4 << 20))
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def _no_space(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


@given(json_values)
def test_the_digest_ignores_key_order_and_nothing_else(value: object) -> None:
    shuffled = json.loads(json.dumps(value), object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert atomic.digest(value) == atomic.digest(shuffled)
    assert atomic.digest([value]) != atomic.digest([value, None])


def test_json_refuses_what_other_readers_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        atomic.write_json(tmp_path / "a.json", {"latency": float("nan")})
    assert not list(tmp_path.iterdir())


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    making = tmp_path / ".making"
    (making / "inner").mkdir(parents=True)
    (making / "inner" / "a").write_text("x")
    atomic.publish(making, tmp_path / "made")
    assert (tmp_path / "made" / "inner" / "a").read_text() == "x"
    assert not making.exists()


def test_hashing_a_file_needs_no_memory_for_it(tmp_path: Path) -> None:
    path = tmp_path / "big"
    with open(path, "wb") as file:
        file.truncate(256 << 20)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert len(atomic.sha256_file(path)) == 64
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10


def test_a_file_name_that_is_not_utf_8_is_written_and_read_back(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.jpg")
    atomic.write_json(tmp_path / "x.json", {"folders": [name]})
    targets_atomic.write_json(tmp_path / "y.json", {"folders": [name]})
    for file in ("x.json", "y.json"):
        text = (tmp_path / file).read_bytes().decode("utf-8")
        assert "caf\\udce9.jpg" in text
        assert json.loads(text) == {"folders": [name]}
    assert atomic.digest([name]) != atomic.digest(["caf\\udce9.jpg"])
