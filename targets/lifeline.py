"""A process that ends with the one that started it, however that one ends: after kill -9 of a build nothing runs on.

Two ways, both at work. Everywhere: its stdin is a pipe whose other end the parent alone holds, and that end goes with
the parent. On Linux also prctl(2), PR_SET_PDEATHSIG, set before the program begins: the kernel ends it, while it still
imports what it needs and in a library that holds Python's lock.
What it leaves in temporary folders lies in the one that it was given for them, which is its parent's to clear.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

AMONG_ITS_OWN = Path(os.__file__).parent
"""A working folder for `python -m`, which puts it first on sys.path: there this one, the standard library's, is anyway,
so that no file of a user is imported in place of a module."""

KILLED = -9
"""The `returncode` of a program that SIGKILL ended: on Linux what the kernel does where memory runs out."""

_ASKED = "EDGEDISTILL_ENDS_WITH_PARENT"
_SET_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def run(
    command: Sequence[str], *, folder: Path | None = None, scratch: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """A Python program of ours that has ended, with what it said; it calls `end_with_parent` first.

    folder: where it runs, None for here. scratch: where its temporary files go, instead of the system's place for them.
    Ends the program where this is interrupted. Raises OSError where it cannot be started.
    """
    environment = {**os.environ, _ASKED: "1"}
    if scratch is not None:
        environment["TMPDIR"] = str(scratch)
    watched, held = os.pipe()
    try:
        return subprocess.run(
            bound(command),
            cwd=folder,
            env=environment,
            stdin=watched,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    finally:
        os.close(watched)
        os.close(held)


def end_with_parent() -> None:
    """In a program that `run` started: end when its parent does. Elsewhere nothing."""
    if os.environ.pop(_ASKED, None) is None:
        return
    # Where the kernel was not asked, or only when the parent was gone: the pipe has ended then.
    threading.Thread(target=_end_with_stdin, name="lifeline", daemon=True).start()


def bound(command: Sequence[str]) -> list[str]:
    """The words that start a program, by its path, ours or not, so that it ends with this process. Linux alone can do
    that: the kernel is asked before the program begins, in the same process."""
    return [sys.executable, "-I", __file__, *command] if sys.platform == "linux" else list(command)


def _end_with_stdin() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    with contextlib.suppress(ImportError):  # a Python that was built without ctypes
        import ctypes

        ctypes.CDLL(None).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    os.execv(sys.argv[1], sys.argv[1:])
