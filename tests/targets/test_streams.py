"""A program goes on when nobody reads it any more, and knows that."""

from __future__ import annotations

import subprocess
import sys

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
