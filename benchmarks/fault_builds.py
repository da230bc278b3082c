"""The tiny build of the tests as a command that something happens to: started, watched stage by stage, looked after.

What a build leaves is looked for in four places: processes (all carry a mark in their environment), the place for
temporary files (each build has one of its own), the work folder, and the folder of the bundle. What an unbroken build
leaves there as well is the libraries' and does not count.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
from tiny_build import flags, write_inputs  # noqa: E402
from tiny_teacher import write_tiny_teacher  # noqa: E402

MARK = "EDGEDISTILL_FAULTS"
POLL_S = 0.005
PATIENCE_S = 900  # for a stage to begin, and for a build to end, on a busy machine
FINISHED = (0, 3)  # exit codes of a build that went to its end: pass, fail

# A stage is under way while something of this name lies in the build's own folder; in the order of the line.
STAGES = {
    "imports": "tmp",
    "text": "work/.text-*.partial",
    "store": "work/.store-train-*.partial",
    "check store": "work/.store-check-*.partial",
    "distil": "work/.distil-*.partial",
    "answers": "work/.answers-*.partial",
    "export": "work/.scratch-*",
    "bundle": "out/.bundle.*.part",
    "measure": "out/bundle/results/.edgedistill-scratch-*",
}


@dataclass
class Build:
    """One build: its own work folder, destination and place for temporary files below `place`."""

    inputs: Path
    teacher: Path
    place: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    changed: dict[str, Any] = field(default_factory=dict)

    @property
    def work(self) -> Path:
        return self.changed.get("work", self.place / "work")

    @property
    def bundle(self) -> Path:
        return self.changed.get("out", self.place / "out" / "bundle")

    def start(self, *, before: Sequence[str] = (), **popen: Any) -> subprocess.Popen[bytes]:
        """The command, its words in the file `said`. before: words that the command line begins with."""
        for name in ("tmp", "out"):
            (self.place / name).mkdir(parents=True, exist_ok=True)
        where = {"work": self.work, "out": self.bundle}
        words = [sys.executable, "-m", "edgedistill", "build"]
        words += flags(self.inputs, self.teacher, **{**self.changed, **where})
        environment = {
            **os.environ,
            MARK: self.mark,
            "TMPDIR": str(self.place / "tmp"),
            "OMP_NUM_THREADS": "1",
            "HF_HUB_OFFLINE": "1",
            "TORCHINDUCTOR_CACHE_DIR": str(self.inputs.parent / "inductor"),
            "COLUMNS": "1000",  # a message is one line
        }
        with open(self.said_in, "wb") as said:
            return subprocess.Popen(
                [*before, *words], cwd=self.inputs, env=environment, stdout=subprocess.DEVNULL, stderr=said, **popen
            )

    @property
    def said_in(self) -> Path:
        """Beside `place`, which may be a full disk."""
        return self.place.with_name(f"{self.place.name}.said")

    def run(self, **start: Any) -> int:
        """Start it and wait; the exit code."""
        return self.end(self.start(**start))

    def end(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for it; the exit code. A build that hangs is a fault of its own."""
        try:
            return process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return HUNG

    def said(self) -> str:
        """The two lines that an error or an interruption ended with; "a traceback" where it was none of them."""
        lines = self.said_in.read_text(errors="replace").splitlines()
        if any(line.startswith("Traceback") for line in lines):
            return f"a traceback: {lines[-1]}"
        for index, line in enumerate(lines):
            if line.startswith("error: ") or line == "interrupted":
                told = " / ".join(lines[index : index + 2])
                # No path of this machine; a build may have the folder of another one as its own.
                for above in (self.place, self.work.parent, self.bundle.parent.parent, self.inputs.parent):
                    told = told.replace(f"{above}/", "")
                return told
        return ""

    def at(self) -> str:
        """The stage that is under way."""
        found = [name for name, pattern in STAGES.items() if any(self.place.glob(pattern))]
        return found[-1] if found else "imports"

    def wait_for(self, stage: str, process: subprocess.Popen[bytes]) -> bool:
        """Until a stage has begun; False where the build ended first."""
        until = time.monotonic() + PATIENCE_S
        while not any(self.place.glob(STAGES[stage])):
            if process.poll() is not None or time.monotonic() > until:
                return False
            time.sleep(POLL_S)
        return True

    def manifest(self) -> bytes:
        path = self.bundle / "manifest.json"
        return path.read_bytes() if path.is_file() else b""

    def processes(self) -> list[str]:
        """Command lines of processes of this build that still run; they get ten seconds to end."""
        until = time.monotonic() + 10
        while (found := _marked(self.mark)) and time.monotonic() < until:
            time.sleep(0.05)
        return found

    def files_left(self) -> set[str]:
        """Names of what is not meant to stay, from the place for temporary files, work folder and destination."""
        left = {f"tmp/{path.name}" for path in (self.place / "tmp").glob("*")}
        left |= {f"work/{path.name}" for path in self.work.glob(".*") if path.name != ".lock"}
        left |= {f"out/{path.name}" for path in self.bundle.parent.glob("*") if path != self.bundle}
        return left | {f"bundle/{path.relative_to(self.bundle)}" for path in self.bundle.rglob(".*")}

    def remove(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)
        self.said_in.unlink(missing_ok=True)


HUNG = -1000


@dataclass
class Reference:
    """What an unbroken build gives, how long each of its stages takes and how much it has on the disk by then."""

    inputs: Path
    teacher: Path
    manifest: bytes
    left: set[str]
    seconds: dict[str, float]
    bytes: dict[str, int]
    total_s: float

    def build(self, place: Path, **changed: Any) -> Build:
        return Build(self.inputs, self.teacher, place, changed=changed)


def reference(folder: Path) -> Reference:
    """Make the inputs and build them once, unbroken. Exits where that fails."""
    inputs, teacher = write_inputs(folder / "inputs"), write_tiny_teacher(folder / "teacher")
    build = Build(inputs, teacher, folder / "unbroken")
    process, began = build.start(), time.monotonic()
    seen: dict[str, float] = {}
    most: dict[str, int] = {}
    weighed = 0.0
    while process.poll() is None:
        for name, pattern in STAGES.items():
            if name not in seen and any(build.place.glob(pattern)):
                seen[name] = time.monotonic()
        if time.monotonic() - weighed > 0.05:  # it takes the build's time
            most[build.at()] = max(most.get(build.at(), 0), _bytes_below(build.place))
            weighed = time.monotonic()
        time.sleep(POLL_S)
    ended = time.monotonic()
    if process.returncode not in FINISHED or not build.manifest():
        sys.exit(f"the unbroken build ended with {process.returncode}:\n{build.said_in.read_text()}")
    starts = [*seen.values(), ended]
    seconds = {name: later - earlier for name, earlier, later in zip(seen, starts, starts[1:])}
    return Reference(inputs, teacher, build.manifest(), build.files_left(), seconds, most, ended - began)


def _bytes_below(folder: Path) -> int:
    total = 0
    for above, _, names in os.walk(folder):
        for name in names:
            try:
                total += -(-os.stat(os.path.join(above, name)).st_size // 4096) * 4096
            except OSError:  # gone since it was listed
                continue
    return total


def _marked(mark: str) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and f"{MARK}={mark}".encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip())
        except OSError:  # it has ended, or is another user's
            continue
    return [words for words in found if words]  # a zombie has none


@dataclass
class Fault:
    """A row: what was done so often, and what came of it. `said` is the last one's; `left` names what stayed."""

    fault: str
    done: str
    said: str = ""
    tries: int = 0
    clear: int = 0
    went_on: int = 0
    equal: int = 0
    left: list[str] = field(default_factory=list)
    skipped: str = ""
    part: str = ""

    def again(self, build: Build, whole: Reference, *, clear: bool, **start: Any) -> None:
        """Count a try: whether its end was clear; then the same command once more, to the end, and what that left."""
        self.tries += 1
        self.clear += clear
        self.left += [f"process: {words}" for words in build.processes()]
        self.left += sorted(name for name in build.files_left() - whole.left if name.startswith("tmp/"))
        code = build.run(**start)
        self.went_on += code in FINISHED
        self.equal += build.manifest() == whole.manifest
        if code not in FINISHED:
            self.left.append(f"the same command ended with {code}: {build.said()}")
        self.left += sorted(build.files_left() - whole.left)
        self.left += [f"process: {words}" for words in build.processes()]

    @property
    def held(self) -> bool:
        return bool(self.skipped) or (self.clear == self.went_on == self.equal == self.tries > 0 and not self.left)


def is_clear(build: Build, code: int, wanted: int = 2) -> bool:
    """Ended by itself with this exit code and two lines."""
    return code == wanted and " / " in build.said() and not build.said().startswith("a traceback")


def frozen(process: subprocess.Popen[bytes], change: Callable[[], None]) -> None:
    """Change something while the build stands still."""
    process.send_signal(signal.SIGSTOP)
    try:
        change()
    finally:
        process.send_signal(signal.SIGCONT)


def as_rows(faults: Sequence[Fault], machine: str, command: str) -> list[dict[str, Any]]:
    return [{**vars(fault), "held": fault.held, "machine": machine, "command": command} for fault in faults]
