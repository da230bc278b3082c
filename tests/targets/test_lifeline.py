"""What a program starts ends with it, also after kill -9."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgedistill.targets import lifeline


def gone(pid: int) -> bool:
    """Ended: there no more, or waiting to be read by whoever adopted it."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at processes in /proc")
@pytest.mark.parametrize("way", ["kernel", "pipe"])
def test_a_child_dies_with_a_parent_that_was_killed(tmp_path: Path, way: str) -> None:
    """By the kernel, be the program ours or not; and where that knows no such thing, by the pipe."""
    said = tmp_path / "pid"
    child = "import os, sys; from pathlib import Path; from edgedistill.targets import lifeline; "
    child += "" if way == "kernel" else "lifeline.end_with_parent(); "
    child += f"Path({str(said)!r}).write_text(str(os.getpid())); "
    child += "import time; time.sleep(60)"
    parent = "import sys; from edgedistill.targets import lifeline; "
    parent += "" if way == "kernel" else "sys.platform = 'other'; "
    parent += f"lifeline.run([sys.executable, '-c', {child!r}])"
    process = subprocess.Popen([sys.executable, "-c", parent])
    until = time.monotonic() + 60
    while not (said.exists() and said.read_text()):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    pid = int(said.read_text())
    assert not gone(pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    while not gone(pid):
        assert time.monotonic() < until, "the child outlived its parent"
        time.sleep(0.02)


def test_a_child_says_what_it_found_and_leaves_temporary_files_where_it_was_told(tmp_path: Path) -> None:
    child = "from edgedistill.targets import lifeline; lifeline.end_with_parent(); import os, tempfile; "
    child += f"tempfile.mkdtemp(); print({lifeline._ASKED!r} in os.environ); raise SystemExit(3)"
    done = lifeline.run([sys.executable, "-c", child], scratch=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (3, "False\n", "")
    assert len(list(tmp_path.iterdir())) == 1
