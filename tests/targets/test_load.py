"""What others took is what the processors did, less what this process did; and what of it makes a run not count."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import process_time, sleep

import pytest

from edgedistill.targets.cores import usable_cores
from edgedistill.targets.load import (
    MOST_WAITED,
    CpuTime,
    Load,
    load_between,
    read_cpu_time,
    room_for_others,
    room_on,
)

TICKS = os.sysconf("SC_CLK_TCK")


def copied(root: Path, busy_ticks: int, *waited_ns: int) -> Path:
    """A /proc whose processors of ours were busy so long in all, half of it stolen, and one more, which is not ours,
    far longer; and threads of ours that waited so long."""
    cpus = usable_cores()
    shares = [busy_ticks, *[0] * (len(cpus) - 1)]
    rows = [f"cpu{cpu} {share - share // 2} 0 0 123456 789 0 0 {share // 2} 55 0" for cpu, share in zip(cpus, shares)]
    rows += [f"cpu{max(cpus) + 1000} 999999 0 0 0 0 0 0 0 0 0", "intr 12 34", "ctxt 5"]
    for thread, waited in enumerate(waited_ns):
        (root / f"proc/self/task/{thread}").mkdir(parents=True)
        (root / f"proc/self/task/{thread}/schedstat").write_text(f"5000 {waited} 17\n")
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/stat").write_text("\n".join(["cpu  1 2 3 4 5 6 7 8 9 10", *rows]))
    return root


def test_busy_and_stolen_time_of_the_processors_we_may_use_and_the_waits_of_all_threads_are_counted(
    tmp_path: Path,
) -> None:
    found = read_cpu_time(copied(tmp_path, 4 * TICKS, 1_000_000_000, 500_000_000))
    assert found is not None
    assert (found.busy, found.stolen, found.waited) == (4, 2, 1.5)
    assert found.own == pytest.approx(sum(os.times()[:4]), abs=1)  # and of children that ended


def test_what_this_process_did_is_not_others() -> None:
    before, after = CpuTime(10, own=1, clock=100, stolen=1, waited=2), CpuTime(19, own=4, clock=104, stolen=3, waited=3)
    assert load_between(before, after, cpus=2) == Load(others=(9 - 3) / 4, stolen=2 / 4 / 2, waited=1 / (1 + 3))
    quiet = load_between(before, CpuTime(11, own=4, clock=104, stolen=1), cpus=2)
    assert quiet == Load(others=0, stolen=0, waited=None)


def test_a_system_that_does_not_tell_leaves_it_unknown(tmp_path: Path) -> None:
    assert read_cpu_time(tmp_path / "no proc") is None
    assert load_between(None, CpuTime(1, 1, 1), cpus=2) is None
    told = read_cpu_time(copied(tmp_path, 1))
    assert told is not None
    assert told.waited is None


@pytest.mark.parametrize(
    ("load", "codes"),
    [
        (Load(0.2, 0.02, 0.05), []),
        (Load(0.2, 0.0, None), []),
        (Load(0.21, 0.0, 0.0), ["busy"]),
        (Load(0.0, 0.021, 0.0), ["stolen"]),
        (Load(0.0, 0.0, 0.051), ["waited"]),
        (Load(2.0, 1.0, 1.0), ["busy", "stolen", "waited"]),
    ],
)
def test_a_run_beside_others_does_not_count(load: Load, codes: list[str]) -> None:
    assert [flaw.code for flaw in load.flaws(room_on(2))] == codes


@pytest.mark.parametrize(("threads", "cpus", "room"), [(1, 2, 1.2), (2, 2, 0.2), (4, 64, 66.4), (8, 4, 0.4)])
def test_in_a_bench_others_may_have_what_is_left_and_a_tenth(threads: int, cpus: int, room: float) -> None:
    assert room_for_others(threads, cpus) == pytest.approx(room)


def test_a_busy_program_on_every_processor_is_seen_by_what_it_takes_and_by_our_waits() -> None:
    cpus = len(usable_cores())
    programs = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(cpus)]
    try:
        sleep(0.2)
        before = read_cpu_time()
        started = process_time()
        while process_time() - started < 0.2:
            pass
        found = load_between(before, read_cpu_time(), cpus)
    finally:
        for program in programs:
            program.kill()
            program.wait()
    if found is None:
        pytest.skip("this system does not tell")
    assert found.others > room_on(cpus)
    assert found.waited is None or found.waited > MOST_WAITED
