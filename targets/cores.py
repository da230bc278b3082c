"""The processors of this machine: those a program may use, the fast ones among them, and their clocks.

Boards with big and little cores (RK3588: four A76 beside four A55) would wait for the little ones at the end of every
operator. Threads go to the fast ones, and the result says to which. Linux tells how fast a core is by `cpu_capacity`
(arm64; 1024 is the fastest), else by the highest clock of cpufreq, which says nothing of an architecture: of two
thirds, and of four fifths of the fastest on, a core counts as fast here. Both limits are our choice; they part the
clusters of all boards that have a profile, and keep the favoured cores of a PC together with its others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .system import ROOT, text, whole_number

MOST_THREADS = 8
_CPU = "sys/devices/system/cpu"
_FAST_BY_CAPACITY, _FAST_BY_CLOCK = 2 / 3, 0.8


def usable_cores() -> list[int]:
    """The numbers of the processors that this process may use."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else list(range(os.cpu_count() or 1))


def fast_cores(root: Path = ROOT, among: list[int] | None = None) -> list[int]:
    """The fast ones of `among` (default: those usable); all of them where they do not differ, or do not tell."""
    cores = usable_cores() if among is None else among
    for name, share in (("cpu_capacity", _FAST_BY_CAPACITY), ("cpufreq/cpuinfo_max_freq", _FAST_BY_CLOCK)):
        known = {core: whole_number(root / f"{_CPU}/cpu{core}/{name}") for core in cores}
        speeds = {core: speed for core, speed in known.items() if speed is not None and speed > 0}
        if len(speeds) == len(cores) > 0:
            return [core for core in cores if speeds[core] >= share * max(speeds.values())]
    return cores


def physical_cores(root: Path = ROOT, among: list[int] | None = None) -> int:
    """Threads for a session: the fast physical cores this process may use, at most 8.

    Its CPU set, two threads of a core once, under the cgroup quota: containers get their share by quota and still see
    every core of the host, so os.cpu_count() would be too many.
    """
    siblings = {
        text(root / f"{_CPU}/cpu{core}/topology/thread_siblings_list") or str(core) for core in fast_cores(root, among)
    }
    return max(1, min(MOST_THREADS, len(siblings), int(_cgroup_quota(root))))


def placement(threads: int, root: Path = ROOT, among: list[int] | None = None) -> list[int] | None:
    """The fast cores, where so many threads are to stay on them; None where all are alike, or the fast are too few."""
    cores = usable_cores() if among is None else among
    fast = fast_cores(root, cores)
    return fast if threads <= len(fast) < len(cores) else None


@contextmanager
def staying_on(cores: list[int] | None) -> Iterator[None]:
    """Keep the calling thread on `cores` meanwhile, and give it back as it was; None: leave it alone."""
    if cores is None or not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, cores)
    except OSError:  # the program's CPU set has changed since: it is where it may be
        yield
        return
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def clocks(threads: int, root: Path = ROOT, among: list[int] | None = None) -> dict[str, Any]:
    """Governors, and the current and highest clock in MHz of the cores that run so many threads; {} without cpufreq.

    Read under load: the threads are where the clocks are highest, an idle core's clock says nothing. `mhz` is the
    slowest of the `threads` fastest clocks, `max_mhz` what those cores may reach (scaling_max_freq).
    """
    found = []
    for core in usable_cores() if among is None else among:
        folder = root / f"{_CPU}/cpu{core}/cpufreq"
        now, most = whole_number(folder / "scaling_cur_freq"), whole_number(folder / "scaling_max_freq")
        if now is not None:
            found.append((now // 1000, (most or 0) // 1000, text(folder / "scaling_governor")))
    if not found:
        return {}
    running = sorted(found, reverse=True)[: max(1, threads)]
    return {
        "governors": sorted({governor for _, _, governor in running} - {""}),
        "mhz": running[-1][0],
        "max_mhz": max(most for _, most, _ in running) or None,
    }


def throttle_counts(root: Path = ROOT) -> dict[str, int]:
    """How often x86 processors slowed down because of heat since boot: the sum over cores, and over packages.

    {} elsewhere. Source: Linux, arch/x86/kernel/cpu/mce/therm_throt.c (`*_throttle_count`); every core repeats its
    package's count, so the largest stands for it.
    """
    found: dict[str, int] = {}
    folders = list(root.glob(f"{_CPU}/cpu[0-9]*/thermal_throttle"))
    for name, joined in (("core", sum), ("package", max)):
        counts = [whole_number(folder / f"{name}_throttle_count") for folder in folders]
        if known := [count for count in counts if count is not None]:
            found[name] = joined(known)
    return found


def _cgroup_quota(root: Path) -> float:
    """CPUs that the cgroup allows (version 2, then 1); infinity without a limit."""
    fields = text(root / "sys/fs/cgroup/cpu.max").split()
    if len(fields) != 2:
        fields = [text(root / f"sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period")]
    if all(field.isdigit() for field in fields) and int(fields[1]) > 0:
        return max(1.0, int(fields[0]) / int(fields[1]))
    return 1e9
