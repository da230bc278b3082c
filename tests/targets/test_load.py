"""What others took is what the processors did, less what this process did."""

from __future__ import annotations

import os
from pathlib import Path
from time import process_time

import pytest

from edgedistill.targets.load import CpuTime, others_between, read_cpu_time, room_for_others
from edgedistill.targets.cores import usable_cores

TICKS = os.sysconf("SC_CLK_TCK")


def stat(folder: Path, busy_ticks: int) -> Path:
    """A /proc/stat whose processors of ours were busy so long in all, and one more, which is not ours, far longer."""
    cpus = usable_cores()
    shares = [busy_ticks, *[0] * (len(cpus) - 1)]
    rows = [f"cpu{cpu} {share - share // 2} 0 0 123456 789 0 0 {share // 2} 55 0" for cpu, share in zip(cpus, shares)]
    rows += [f"cpu{max(cpus) + 1000} 999999 0 0 0 0 0 0 0 0 0", "intr 12 34", "ctxt 5"]
    path = folder / "stat"
    path.write_text("\n".join(["cpu  1 2 3 4 5 6 7 8 9 10", *rows]))
    return path


def test_busy_and_stolen_time_of_the_processors_we_may_use_is_counted(tmp_path: Path) -> None:
    found = read_cpu_time(stat(tmp_path, 5 * TICKS))
    assert found is not None
    assert found.busy == 5
    assert found.own == pytest.approx(process_time(), abs=0.5)


def test_what_this_process_did_is_not_others() -> None:
    before, after = CpuTime(busy=10, own=1, clock=100), CpuTime(busy=19, own=4, clock=104)
    assert others_between(before, after) == (9 - 3) / 4
    assert others_between(before, CpuTime(busy=11, own=4, clock=104)) == 0


def test_a_system_that_does_not_tell_leaves_it_unknown(tmp_path: Path) -> None:
    assert read_cpu_time(tmp_path / "no stat") is None
    assert others_between(None, CpuTime(1, 1, 1)) is None


@pytest.mark.parametrize(("threads", "cpus", "room"), [(1, 2, 1.2), (2, 2, 0.2), (4, 64, 66.4), (8, 4, 0.4)])
def test_others_may_have_what_is_left_and_a_tenth(threads: int, cpus: int, room: float) -> None:
    assert room_for_others(threads, cpus) == pytest.approx(room)
