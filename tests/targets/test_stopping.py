"""SIGTERM and SIGHUP end a program as Ctrl-C does, with a shell's exit code."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import os, signal, sys, time
from edgedistill.targets import stopping
signal.signal(signal.SIGHUP, signal.{hup})
stopping.stop_as_ctrl_c_does()
try:
    os.kill(os.getpid(), signal.{name})
    time.sleep(0.05)
    print("went on")
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.{name})  # once more: what is begun is still tidied up
    print("tidied up")
    sys.exit(stopping.exit_code())
"""


@pytest.mark.parametrize(
    ("name", "hup", "said", "code"),
    [
        ("SIGTERM", "SIG_DFL", "tidied up", 143),
        ("SIGHUP", "SIG_DFL", "tidied up", 129),
        ("SIGHUP", "SIG_IGN", "went on", 0),  # under nohup
    ],
)
def test_a_signal_that_ends_a_program_lets_it_tidy_up(name: str, hup: str, said: str, code: int) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM.format(name=name, hup=hup)], capture_output=True, text=True)
    assert (done.stdout.strip(), done.returncode, done.stderr) == (said, code, "")
