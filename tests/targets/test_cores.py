"""Threads go to the fast cores, and clocks are those of the cores that run."""

from __future__ import annotations

import os
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest
from bundles import write_bundle
from copied_board import copied, listing, sample

from edgedistill.targets import cores, runtimes
from edgedistill.targets.manifest import read_manifest

CPU = "sys/devices/system/cpu/cpu"
RK3588 = {f"{CPU}{core}/cpu_capacity": "530" if core < 4 else "1024" for core in range(8)}
EIGHT = list(range(8))


def clocked(**mhz: tuple[int, int]) -> dict[str, str]:
    """cpufreq by core, (current, highest) in MHz."""
    found = {}
    for core, (now, most) in mhz.items():
        folder = f"{CPU}{core.removeprefix('cpu')}/cpufreq"
        found |= {f"{folder}/scaling_cur_freq": f"{now}000", f"{folder}/scaling_max_freq": f"{most}000"}
        found |= {f"{folder}/cpuinfo_max_freq": f"{most}000", f"{folder}/scaling_governor": "schedutil"}
    return found


def test_big_cores_are_told_from_little_ones_by_their_capacity(tmp_path: Path) -> None:
    root = copied(tmp_path, RK3588)
    assert cores.fast_cores(root, EIGHT) == [4, 5, 6, 7]
    assert cores.physical_cores(root, EIGHT) == 4
    assert cores.placement(4, root, EIGHT) == [4, 5, 6, 7]


def test_else_by_their_clock_and_favoured_cores_are_not_alone(tmp_path: Path) -> None:
    hybrid = copied(tmp_path / "hybrid", clocked(cpu0=(800, 5100), cpu1=(800, 5000), cpu2=(800, 3600)))
    assert cores.fast_cores(hybrid, [0, 1, 2]) == [0, 1]
    turbo = copied(tmp_path / "turbo", clocked(cpu0=(800, 5100), cpu1=(800, 4900)))
    assert cores.placement(1, turbo, [0, 1]) is None


def test_cores_that_are_alike_or_do_not_tell_are_left_alone(tmp_path: Path) -> None:
    alike = copied(tmp_path / "alike", {f"{CPU}{core}/cpu_capacity": "1024" for core in EIGHT})
    partly = copied(tmp_path / "partly", {f"{CPU}0/cpu_capacity": "1024"})
    for root in (alike, partly, tmp_path / "none"):
        assert cores.fast_cores(root, EIGHT) == EIGHT
        assert cores.placement(4, root, EIGHT) is None


def test_more_threads_than_fast_cores_are_spread_as_the_system_likes(tmp_path: Path) -> None:
    assert cores.placement(8, copied(tmp_path, RK3588), EIGHT) is None


def test_a_cpu_set_of_little_cores_alone_has_no_fast_ones(tmp_path: Path) -> None:
    root = copied(tmp_path, RK3588)
    assert cores.fast_cores(root, [0, 1]) == [0, 1]
    assert cores.placement(2, root, [0, 1]) is None


def test_threads_follow_the_container_and_count_a_core_once(tmp_path: Path) -> None:
    assert cores.physical_cores(copied(tmp_path, {"sys/fs/cgroup/cpu.max": "150000 100000"})) == 1
    one_core = {f"{CPU}{core}/topology/thread_siblings_list": "0-1" for core in range(64)}
    assert cores.physical_cores(copied(tmp_path / "smt", one_core)) == 1
    assert 1 <= cores.physical_cores() <= 8


def test_an_idle_core_is_not_taken_for_a_slow_one(tmp_path: Path) -> None:
    root = copied(tmp_path, clocked(cpu0=(600, 2400), cpu1=(2400, 2400), cpu2=(2300, 2400), cpu3=(600, 2400)))
    assert cores.clocks(2, root, [0, 1, 2, 3]) == {"governors": ["schedutil"], "mhz": 2300, "max_mhz": 2400}
    assert cores.clocks(4, root, [0, 1, 2, 3])["mhz"] == 600
    assert cores.clocks(1, root, [9]) == {}


def test_clocks_of_little_cores_are_not_those_of_the_model(tmp_path: Path) -> None:
    root = copied(tmp_path, clocked(cpu0=(1800, 1800), cpu1=(2256, 2400)))
    assert cores.clocks(1, root, [0, 1]) == {"governors": ["schedutil"], "mhz": 2256, "max_mhz": 2400}


@pytest.mark.parametrize(
    ("case", "mhz", "max_mhz"),
    [
        ("pi5 default governor, idle", 1500, 2400),
        ("pi4 performance governor", 1800, 1800),
        ("orin nano 25W", 1344, 1344),
        ("n100 intel_pstate active", 2891, 3400),
        ("container without cpufreq", None, None),
    ],
)
def test_the_clocks_of_samples(tmp_path: Path, case: str, mhz: int | None, max_mhz: int | None) -> None:
    found = cores.clocks(4, copied(tmp_path, listing(sample("cpufreq_listings.txt")[case])), [0])
    assert (found.get("mhz"), found.get("max_mhz")) == (mhz, max_mhz)


def test_throttle_counts_are_summed_over_cores_and_not_over_copies_of_a_package(tmp_path: Path) -> None:
    files = {f"{CPU}{core}/thermal_throttle/core_throttle_count": "2" for core in range(4)}
    files |= {f"{CPU}{core}/thermal_throttle/package_throttle_count": "5" for core in range(4)}
    assert cores.throttle_counts(copied(tmp_path, files)) == {"core": 8, "package": 5}
    assert cores.throttle_counts(tmp_path / "none") == {}


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone keeps threads on cores")
def test_a_thread_is_given_back_as_it_was() -> None:
    before = os.sched_getaffinity(0)
    one = {min(before)}
    with cores.staying_on(sorted(one)):
        assert os.sched_getaffinity(0) == one
    assert os.sched_getaffinity(0) == before
    with cores.staying_on([99_999]):  # no such core
        assert os.sched_getaffinity(0) == before
    with pytest.raises(ZeroDivisionError), cores.staying_on(sorted(one)):
        raise ZeroDivisionError
    assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone keeps threads on cores")
def test_a_sessions_threads_are_on_the_fast_cores_and_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a board whose first core alone is fast: read back from the threads themselves."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        pytest.skip("there is one core")
    monkeypatch.setattr(cores, "placement", lambda threads: usable[:1])
    manifest = read_manifest(write_bundle(tmp_path / "bundle"))
    assert runtimes.problem("onnxruntime-cpu") is None  # imported: that alone starts a thread

    def allowed() -> dict[str, str]:
        found = {}
        for status in Path("/proc/self/task").glob("*/status"):
            line = next(line for line in status.read_text().splitlines() if line.startswith("Cpus_allowed_list:"))
            found[status.parent.name] = line.split()[1]
        return found

    before = allowed()
    session = runtimes.open_session(manifest, "fp32", "onnxruntime-cpu", 2)
    session.run(np.zeros((1, manifest.size, manifest.size, 3), np.uint8))
    until = monotonic() + 10  # a thread moves itself when it begins, which on a busy machine may be after the first run
    while (places := {where for thread, where in allowed().items() if thread not in before}) != {str(usable[0])}:
        assert monotonic() < until, places
        sleep(0.01)
    assert session.describe()["cores"] == usable[:1]
    assert sorted(os.sched_getaffinity(0)) == usable
    session.close()
