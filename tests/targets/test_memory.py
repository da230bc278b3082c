"""Memory is what a process, or a device, had least of meanwhile: also what was given back before the end."""

from __future__ import annotations

import mmap
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edgedistill.targets import memory


def test_resident_growth_sees_memory_that_was_given_back() -> None:
    growth = memory.ResidentGrowth()
    with mmap.mmap(-1, 8 << 20) as block:  # fresh pages: an allocator may hand out memory that was resident already
        block.write(b"x" * len(block))
    peak = growth.peak_mb()
    assert peak is not None
    assert 6 < peak < 64


GROWTH = """
import mmap, sys
from pathlib import Path
if len(sys.argv) > 2:
    sys.modules["resource"] = None  # as on Windows
from edgedistill.targets import memory
growth = memory.ResidentGrowth(Path(sys.argv[1]))
with mmap.mmap(-1, 48 << 20) as block:
    for _ in range(48):
        block.write(b"x" * (1 << 20))
print(growth.peak_mb())
"""


def growth_without_proc(folder: Path, *more: str) -> str:
    """What a fresh process finds. A shell starts it: ru_maxrss would else begin with the peak of this one."""
    program = folder / "growth.py"
    program.write_text(GROWTH)
    command = ["sh", "-c", '"$@"; true', "sh", sys.executable, str(program), str(folder / "no proc"), *more]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.skipif(sys.platform == "win32", reason="needs getrusage")
def test_without_proc_the_growth_is_getrusages(tmp_path: Path) -> None:
    assert 40 < float(growth_without_proc(tmp_path)) < 64


def test_where_a_system_tells_nothing_the_peak_is_not_known(tmp_path: Path) -> None:
    assert growth_without_proc(tmp_path, "no getrusage") == "None"


def test_the_low_water_mark_is_seen_between_start_and_end() -> None:
    free = [1000.0]
    dipped = threading.Event()

    def read() -> float:
        if free[0] < 1000:
            dipped.set()
        return free[0]

    with memory.LowWater("kind", read) as low:
        free[0] = 600
        assert dipped.wait(5)
        free[0] = 990
    assert low.peak_mb() == 400
