"""A program goes on when nobody reads it any more, and knows that."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from edgedistill.targets import streams
streams.settle()
print("first", flush=True)
while not streams.unread(sys.stdout):
    print("x" * 65536, flush=True)
print("\\udcff é 螺", file=sys.stderr)
sys.exit(3)
"""


def test_what_nobody_reads_is_noticed_and_ends_nothing() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PYTHONIOENCODING": "ascii"},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"first\n"
    process.stdout.close()
    assert process.wait(timeout=60) == 3
    assert process.stderr is not None
    assert process.stderr.read() == b"\\udcff \\xe9 \\u87ba\n"


def ended(program: str, redirected: str, **environment: str) -> tuple[int, str]:
    """How a program ended whose streams a shell redirected, and what it printed on the other one."""
    command = ["sh", "-c", f'exec "$0" -c "$1" {redirected}', sys.executable, program]
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


SAYS = """
import sys
from edgedistill.targets import printable, streams
streams.settle()
printable.say("an answer")
printable.say("a warning", error=True)
left = sys.stderr if streams.unread(sys.stdout) else sys.stdout
print(streams.lost(sys.stdout) or streams.lost(sys.stderr), file=left)
sys.exit(3)
"""


def test_a_full_disk_ends_nothing_and_can_be_told() -> None:
    assert ended(SAYS, ">/dev/full") == (3, "a warning\nNo space left on device\n")
    assert ended(SAYS, "2>/dev/full") == (3, "an answer\nNo space left on device\n")


def test_what_is_for_a_closed_stream_goes_to_no_other() -> None:
    assert ended(SAYS, "2>&-") == (3, "an answer\n\n")
    assert ended(SAYS, ">&-") == (3, "a warning\n")
    unsettled = SAYS.replace("streams.settle()", "")
    assert ended(unsettled, "2>&-") == (3, "an answer\n\n")


WIDTH = "import os\nfrom edgedistill.targets import streams\nstreams.settle()\nprint(os.environ.get('COLUMNS'))"


@pytest.mark.parametrize(("columns", "kept"), [("100", "100"), ("0", "None"), ("9" * 30, "None"), ("\u00b2", "None")])
def test_a_width_that_no_terminal_has_is_not_heeded(columns: str, kept: str) -> None:
    assert ended(WIDTH, "", COLUMNS=columns) == (0, f"{kept}\n")
