"""What a build does when its machine fails it: one table, a fault a row.

    python benchmarks/faults.py [--part kill --rounds 3] [--jobs 2] [--json rows.json]

Parts: kill (-9, at random moments of every stage), signals, disk, places (read-only, unwritable), together (two
builds), changing (files under a build), clock, memory. After each fault the same command runs to its end, and its
manifest.json is compared with that of an unbroken build. Nothing may be left: no process, no temporary file. The build
is the tiny one of the tests. Parts that need mount, setpriv or a cgroup say so in their row where these are refused.
Exits with 1 where a row does not hold.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from fault_builds import FINISHED, POLL_S, STAGES, Build, Fault, Reference, as_rows, frozen, is_clear, reference
from rows import command, keep, machine

MODES = "-dac_override,-dac_read_search"  # what lets root ignore the modes of files
WITH_RIGHTS_THAT_COUNT = () if os.geteuid() else ("setpriv", f"--bounding-set={MODES}", f"--inh-caps={MODES}")
MIB = 1 << 20
CGROUPS = Path("/sys/fs/cgroup")
LEAST_DISK, DISKS = 32 * 1024, 10
SMALL_MIB = 128  # too little for torch and a student


@dataclass(frozen=True)
class Bench:
    """What every part gets: an unbroken build to compare with, a folder, how often and how many at once."""

    whole: Reference
    folder: Path
    rounds: int
    jobs: int

    def build(self, name: str, **changed: Any) -> Build:
        return self.whole.build(self.folder / re.sub(r"\W+", "-", name), **changed)

    def side_by_side(self, makes: list[Callable[[], Fault]]) -> list[Fault]:
        with ThreadPoolExecutor(self.jobs) as threads:
            return [future.result() for future in [threads.submit(make) for make in makes]]


def kill(bench: Bench) -> list[Fault]:
    """kill -9 of the command alone; what it started has to notice."""
    moments, names = random.Random(0), list(STAGES)
    # Once in every stage as soon as it is seen, or one that takes no time would never be hit; then at any moment.
    shares = [0.0] * len(names) + [moments.random() for _ in range(bench.rounds)]
    plan = [(number, names[number % len(names)], shares[number]) for number in range(bench.rounds)]

    def once(number: int, stage: str, share: float) -> Fault:
        build = bench.build(f"kill {number}")
        process = build.start()
        build.wait_for(stage, process)
        # Towards the stage's beginning: on a busy machine it may be over sooner than in the unbroken build.
        time.sleep(0.8 * share * bench.whole.seconds.get(stage, 0.0))
        hit = build.at() if process.poll() is None else "the end"
        process.kill()
        process.wait()
        found = Fault(f"kill -9: {hit}", "SIGKILL to the command at a random moment")
        found.again(build, bench.whole, clear=True)
        if found.held:
            build.remove()
        return found

    rows: dict[str, Fault] = {}
    for found in bench.side_by_side([partial(once, *args) for args in plan]):
        row = rows.setdefault(found.fault, Fault(found.fault, found.done))
        for name in ("tries", "clear", "went_on", "equal"):
            setattr(row, name, getattr(row, name) + getattr(found, name))
        row.left += found.left
    order = [f"kill -9: {name}" for name in (*names, "the end")]
    return sorted(rows.values(), key=lambda row: order.index(row.fault))


def signals(bench: Bench) -> list[Fault]:
    """What a terminal, a supervisor and a shutting-down machine send."""

    def once(number: signal.Signals, stage: str) -> Fault:
        found = Fault(f"{number.name}: {stage}", f"{number.name} to the command")
        build = bench.build(found.fault)
        # A shell without job control starts what is in the background with SIGINT ignored.
        process = build.start(preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
        build.wait_for(stage, process)
        process.send_signal(number)
        code = build.end(process)
        found.said = build.said()
        found.again(build, bench.whole, clear=is_clear(build, code, 128 + number))
        return found

    both = (signal.SIGINT, signal.SIGTERM)
    stages = ("text", "store", "distil", "export", "measure")
    chosen = [(number, stage) for stage in stages for number in both][: max(2, bench.rounds)]
    return bench.side_by_side([partial(once, *one) for one in chosen])


def disk(bench: Bench) -> list[Fault]:
    """Work folder, destination and temporary files on one disk, of several sizes: each is full in another stage."""
    peak = max(bench.whole.bytes.values())
    sizes = [round(LEAST_DISK * (peak / LEAST_DISK) ** (step / DISKS)) for step in range(DISKS)]

    def once(size: int) -> Fault:
        found = Fault(f"full disk of {size / MIB:.2f} MiB", f"it is full; then one of {4 * peak / MIB:.0f} MiB")
        build = bench.build(found.fault)
        with mounted(build.place, f"size={size}", found) as mount:
            if not found.skipped:
                process, stage = build.start(), "imports"
                while process.poll() is None:
                    stage = now if (now := build.at()) != "imports" else stage
                    time.sleep(POLL_S)
                code = build.end(process)
                found.said = build.said()
                found.fault += f": {stage}"
                clear = is_clear(build, code) or (code in FINISHED and stage == "measure")
                mount(f"remount,size={4 * peak}")
                found.again(build, bench.whole, clear=clear)
        return found

    return bench.side_by_side([partial(once, size) for size in sizes])


@contextlib.contextmanager
def mounted(place: Path, options: str, found: Fault) -> Iterator[Callable[[str], None]]:
    """A tmpfs at `place`; yields how to mount it anew with other options. Where it is refused the row says so."""

    def mount(options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(place)], check=True, capture_output=True)

    place.mkdir(parents=True)
    try:
        mount(options)
    except (OSError, subprocess.CalledProcessError) as error:
        found.skipped = f"mount is refused here: {getattr(error, 'stderr', b'').decode().strip() or error}"
        yield mount
        return
    try:
        yield mount
    finally:
        subprocess.run(["umount", "-l", str(place)], check=False)


def places(bench: Bench) -> list[Fault]:
    """Folders that may not be written or read. root may do anything to a folder: so read-only disks, and a root
    without that right."""

    def read_only(what: str) -> Fault:
        found = Fault(f"read-only {what}", f"{what} on a disk that is mounted read-only; then writable")
        build = bench.build(found.fault)
        disk = build.place / what
        with mounted(disk, "size=64m,ro", found) as mount:
            if not found.skipped:
                code = build.run()
                found.said = build.said()
                clear = is_clear(build, code) or (what == "tmp" and code in FINISHED)
                mount("remount,rw")
                found.again(build, bench.whole, clear=clear)
        return found

    def taken(stage: str) -> Fault:
        found = Fault(f"rights taken away: {stage}", "the work folder becomes mode 0500; then as before")
        build = bench.build(found.fault)
        found.skipped = why_rights_mean_nothing()
        if not found.skipped:
            process = build.start(before=WITH_RIGHTS_THAT_COUNT)
            build.wait_for(stage, process)
            folders = [build.work, *build.work.glob(".*.partial")]
            frozen(process, lambda: [folder.chmod(0o500) for folder in folders] and None)
            code = build.end(process)
            found.said = build.said()
            for folder in filter(Path.exists, folders):
                folder.chmod(0o755)
            found.again(build, bench.whole, clear=is_clear(build, code), before=WITH_RIGHTS_THAT_COUNT)
        return found

    def no_rights(what: str, mode: int) -> Fault:
        found = Fault(f"no rights: {what}", f"{what} has mode {mode:04o}; then as before")
        build = bench.build(found.fault)
        found.skipped = why_rights_mean_nothing()
        if not found.skipped:
            folder = bench.whole.inputs / "photos" if what == "photos" else build.place / what
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(mode)
            try:
                code = build.run(before=WITH_RIGHTS_THAT_COUNT)
                found.said = build.said()
            finally:
                folder.chmod(0o755)
            found.again(build, bench.whole, clear=is_clear(build, code), before=WITH_RIGHTS_THAT_COUNT)
        return found

    rows = bench.side_by_side(
        [
            *(partial(read_only, what) for what in ("work", "out", "tmp")),
            *(partial(taken, stage) for stage in ("store", "distil")),
            *(partial(no_rights, what, 0o500) for what in ("work", "out")),
        ]
    )
    return [*rows, no_rights("photos", 0o000)]  # alone: all builds read them


def why_rights_mean_nothing() -> str:
    """Why modes of folders keep nobody out here, or ""."""
    if os.geteuid() != 0:
        return ""
    try:
        subprocess.run([*WITH_RIGHTS_THAT_COUNT, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"root ignores modes, and setpriv cannot change that: {error}"
    return ""


def together(bench: Bench) -> list[Fault]:
    """Two builds at once that share a folder."""

    def once(what: str) -> Fault:
        found = Fault(f"two builds, one {what}", "the second one starts while the first trains")
        first = bench.build(found.fault)
        second = bench.build(f"{found.fault}, the second")
        second.changed = {"out": first.bundle} if what == "destination" else {"work": first.work}
        process = first.start()
        first.wait_for("distil", process)
        code = second.run()
        found.said = second.said()
        if first.end(process) not in FINISHED or first.manifest() != bench.whole.manifest:
            found.left.append(f"the first one was disturbed: {first.said()}")
        found.again(second, bench.whole, clear=is_clear(second, code))
        return found

    return bench.side_by_side([partial(once, what) for what in ("work folder", "destination")])


def changing(bench: Bench) -> list[Fault]:
    """Photos that are not what they were when they were listed; afterwards they are again."""

    def vanish(photo: Path) -> None:
        photo.unlink()

    def change(photo: Path) -> None:
        photo.write_bytes(photo.read_bytes()[::-1])

    def grow(photo: Path) -> None:
        photo.write_bytes(photo.read_bytes() + bytes(4096))

    def shrink(photo: Path) -> None:
        photo.write_bytes(photo.read_bytes()[:100])

    def once(how: str, alter: Callable[[Path], None]) -> Fault:
        found = Fault(f"photos that {how}", f"every photo is made to {how} as the teacher's pass begins; then put back")
        own = bench.folder / f"photos-{how}"
        shutil.copytree(bench.whole.inputs / "photos", own)
        build = bench.build(found.fault, images=own)
        process = build.start()
        build.wait_for("store", process)
        frozen(process, lambda: [alter(photo) for photo in own.rglob("*.jpg")] and None)
        code = build.end(process)
        found.said = build.said().replace(str(own), "PHOTOS")
        shutil.rmtree(own)
        shutil.copytree(bench.whole.inputs / "photos", own)
        found.again(build, bench.whole, clear=is_clear(build, code))
        return found

    ways = {"vanish": vanish, "change": change, "grow": grow, "shrink": shrink}
    return bench.side_by_side([partial(once, *one) for one in ways.items()])


def clock(bench: Bench) -> list[Fault]:
    """Time that jumps: dates of files that lie in the future or long ago, and another monotonic clock at the rerun."""
    year_s = 365 * 24 * 3600

    def dated(build: Build, seconds: float) -> None:
        for top in (build.place, bench.whole.inputs):
            for path in (top, *top.rglob("*")):
                with contextlib.suppress(OSError):
                    os.utime(path, (seconds, seconds))

    def once(words: str, seconds: float, before: tuple[str, ...]) -> Fault:
        found = Fault(f"clock: {words}", "kill -9 while it trains, the dates of all files and the clock moved")
        build = bench.build(found.fault)
        if before and subprocess.run([*before, "true"], capture_output=True).returncode:
            found.skipped = "a time namespace is refused here"
            return found
        process = build.start()
        build.wait_for("distil", process)
        process.kill()
        process.wait()
        dated(build, seconds)
        found.again(build, bench.whole, clear=True, before=before)
        return found

    uptime = int(time.clock_gettime(time.CLOCK_MONOTONIC))
    moves = [
        ("set back a year (all dates lie ahead)", time.time() + year_s, ()),
        ("all dates lie in 1980", 10 * year_s, ()),
        (
            "monotonic clock back to one second",
            time.time(),
            ("unshare", "-T", "--fork", "--monotonic", str(1 - uptime)),
        ),
    ]
    return bench.side_by_side([partial(once, *one) for one in moves])


def memory(bench: Bench) -> list[Fault]:
    """A limit as `ulimit -v` sets one, met in a stage, and a cgroup's, where the kernel ends the process."""

    def address_space(stage: str) -> Fault:
        found = Fault(f"memory limit from: {stage}", "ulimit -v at 4 MiB more than it has by then; then without")
        build = bench.build(found.fault)
        process = build.start()
        build.wait_for(stage, process)

        def limit() -> None:
            with contextlib.suppress(OSError):  # it ended before the stage
                taken = int(Path(f"/proc/{process.pid}/statm").read_text().split()[0]) * resource.getpagesize()
                # With nothing at all left a thread may not begin, and who started it waits (CPython, issue 140746).
                resource.prlimit(process.pid, resource.RLIMIT_AS, (taken + 4 * MIB, resource.RLIM_INFINITY))

        frozen(process, limit)
        code = build.end(process)
        found.said = build.said()
        found.again(build, bench.whole, clear=is_clear(build, code))
        return found

    def from_the_start() -> Fault:
        found = Fault("memory limit: imports", "ulimit -v of 400 MiB from the start; then without")
        build = bench.build(found.fault)
        most = (400 * MIB, 400 * MIB)
        code = build.run(preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, most))
        found.said = build.said()
        found.again(build, bench.whole, clear=is_clear(build, code))
        return found

    def cgroup() -> Fault:
        found = Fault("memory limit: cgroup", f"in a cgroup of {SMALL_MIB} MiB, where the kernel kills; then without")
        build = bench.build(found.fault)
        with own_cgroup(SMALL_MIB * MIB, found) as join:
            if not found.skipped:
                code = build.run(preexec_fn=join)
                found.said = build.said() or f"nothing: the kernel ended it (signal {-code})"
                found.again(build, bench.whole, clear=code == -signal.SIGKILL or is_clear(build, code))
        return found

    return bench.side_by_side(
        [
            from_the_start,
            *(partial(address_space, stage) for stage in ("store", "distil")),
            cgroup,
        ]
    )


@contextlib.contextmanager
def own_cgroup(most: int, found: Fault) -> Iterator[Callable[[], None]]:
    """A new memory cgroup of `most` bytes; yields how a process joins it. Where it is refused the row says so."""
    second = (CGROUPS / "cgroup.controllers").exists()
    group = (CGROUPS if second else CGROUPS / "memory") / f"edgedistill-faults-{os.getpid()}"

    def join() -> None:
        (group / "cgroup.procs").write_text(str(os.getpid()))

    try:
        group.mkdir()
        (group / ("memory.max" if second else "memory.limit_in_bytes")).write_text(str(most))
    except OSError as error:
        found.skipped = f"no cgroup can be made here: {error}"
    try:
        yield join
    finally:
        for _ in range(100):
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.05)


PARTS: dict[str, Callable[[Bench], list[Fault]]] = {
    part.__name__: part for part in (kill, signals, disk, places, together, changing, clock, memory)
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--part", choices=PARTS, action="append", help="repeatable; default: all")
    parser.add_argument("--rounds", type=int, default=30, help="of kill; the most of signals")
    parser.add_argument("--jobs", type=int, default=2, help="builds at once")
    parser.add_argument("--json", type=Path, help="put the rows of these parts there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgedistill-faults-") as name:
        whole = reference(Path(name))
        told = ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in whole.seconds.items())
        print(f"{machine()}\n{command()}\n\nthe unbroken build: {whole.total_s:.0f} s ({told})\n", flush=True)
        found = []
        print("| fault | what was done | what the command said | clear end | went on | manifest equal | left |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for part in options.part or PARTS:
            for fault in PARTS[part](Bench(whole, Path(name), options.rounds, options.jobs)):
                fault.part = part
                found.append(fault)
                print(line(fault), flush=True)
        held = sum(fault.held for fault in found)
        print(f"\n{held} of {len(found)} rows hold")
        if options.json is not None:
            keep(as_rows(found, machine(), command()), options.json, lambda row: row["part"], list(PARTS))
    sys.exit(0 if held == len(found) else 1)


def line(fault: Fault) -> str:
    """A line of the table."""
    if fault.skipped:
        return f"| {fault.fault} | not run: {fault.skipped} | | | | | |"
    counts = [f"{count} of {fault.tries}" for count in (fault.clear, fault.went_on, fault.equal)]
    cells = [fault.fault, fault.done, fault.said, *counts, "; ".join(fault.left) or "nothing"]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    main()
