"""The work folder: one sub-folder a stage, named by the hash of the stage's inputs, there only when it is whole.

    .edgedistill/
        text-3f9c…/            a finished stage
        .store-81aa….partial/  one that was interrupted; the next run goes on in it
        decisions/             choices made by timing, kept so that a resumed build makes the same ones
        .lock                  held by the build that works here

A stage whose folder exists is done. It works in `partial` and calls `finish()`; because the name holds the inputs, a
changed prompt set or student makes a new folder and leaves every other stage as it was. Its files are sealed by their
sums when it appears (seal.py); one that is not as it was sealed is made again where it is used, and that is said.

Each stage has a version of its own, a constant beside the code that makes it, and the name holds that too. Raise it
whenever the same inputs would give another result than before, or one of another shape: a changed crop (STORE), loss
or schedule (DISTIL), file layout. That stage then runs anew, and those that read it where its result differs; older
folders stay until someone deletes them.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .. import records
from ..errors import InputError
from ..targets import outside
from ..targets.error_lines import first_line
from . import atomic, seal

try:
    import fcntl
except ImportError:  # Windows: two builds in one work folder are up to the user there
    fcntl = None  # type: ignore[assignment]

log = logging.getLogger(__name__)

SCRATCH = ".scratch-"

Repair = Callable[[Path, Sequence[str]], None]
"""Takes what must be made again from the folder of a damaged stage, whose files of these names are not as sealed."""


@dataclass(frozen=True)
class Stage:
    """One stage's place in the work folder. Its result depends on `inputs` and on its code, which `version` names."""

    name: str
    version: int
    inputs: dict[str, Any]
    path: Path
    partial: Path

    @property
    def identity(self) -> dict[str, Any]:
        """What names it: two stages with the same one have the same result."""
        return {"format": self.version, "stage": self.name, "inputs": self.inputs}

    @property
    def done(self) -> bool:
        """Whether it is there; `ready` looks at its files as well."""
        return self.path.is_dir()

    def ready(self, repair: Repair | None = None) -> bool:
        """Whether it is there as it was sealed; reads all of its files but those that were sealed apart.

        One that is not is taken away, with a warning, so that it is made again: as it is begun again with what `repair`
        leaves of it, or from nothing.
        """
        if not self.done:
            return False
        wrong = seal.differing(self.path)
        if wrong:
            more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
            self.discard(f"{wrong[0]}{more} is not as it was written", wrong, repair)
        return not wrong

    def discard(self, why: str, wrong: Sequence[str] = (), repair: Repair | None = None) -> None:
        """Take away a finished stage that cannot be used, with a warning that says why; see `ready`."""
        log.warning("%s is damaged (%s): it is made again", self.path, why)
        if repair is None:
            left = self.path.with_name(f"{SCRATCH}{self.path.name}")  # never half a stage under a stage's name
            shutil.rmtree(left, ignore_errors=True)
            self.path.rename(left)
            shutil.rmtree(left, ignore_errors=True)
        else:
            seal.without_pipes(self.path)
            repair(self.path, wrong)
            shutil.rmtree(self.partial, ignore_errors=True)
            self.path.rename(self.partial)

    def sum_of(self, name: str) -> str:
        """SHA-256 (hex) of a file of the finished stage, as it was sealed."""
        return seal.sums_of(self.path).get(name, "")

    def begin(self) -> Path:
        """The folder to work in; keeps what an interrupted run left there."""
        self.partial.mkdir(parents=True, exist_ok=True)
        seal.without_pipes(self.partial)
        return self.partial

    def finish(self, apart: Collection[str] = ()) -> Path:
        """Record the inputs, seal the files, and make the folder appear under its final name.

        apart: names of files that bear sums of their own, which whoever reads them compares.
        """
        atomic.write_json(self.partial / seal.INPUTS, self.inputs)
        seal.seal(self.partial, apart)
        atomic.publish(self.partial, self.path)
        return self.path


@dataclass(frozen=True)
class _Decision:
    """One file of decisions/. `sha256`: of what stands before it; "" in files from before there was one."""

    value: Any
    reason: str
    inputs: dict[str, Any]
    sha256: str = ""

    @property
    def sum(self) -> str:
        return atomic.digest(records.plain(replace(self, sha256="")))


class WorkFolder:
    """Where a build keeps its stages. Raises InputError when the folder cannot be written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._said: set[str] = set()
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._not_writable(error) from error

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Work here alone: two builds in one partial folder would write over each other. Ends with the process.

        What a killed build left of `scratch` goes. Raises InputError while another build is at work.
        """
        try:
            lock = open(self.root / ".lock", "ab", opener=_regular)  # noqa: SIM115  closed below; not truncated
        except OSError as error:
            raise self._not_writable(error) from error
        with lock:
            if fcntl is not None:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise InputError(
                        f"another build is at work in {self.root}",
                        "Wait until it is done, or give this one a folder of its own with --work.",
                    ) from error
                except OSError as error:  # a network disk without locks
                    log.debug("%s cannot be locked: %s", self.root, error)
            for left in self.root.glob(f"{SCRATCH}*"):
                shutil.rmtree(left, ignore_errors=True)
            yield

    @contextlib.contextmanager
    def scratch(self) -> Iterator[Path]:
        """A folder for what no later run reads; gone at the end."""
        with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=self.root) as folder:
            yield Path(folder)

    def _not_writable(self, error: OSError) -> InputError:
        return InputError(
            f"cannot write the work folder {self.root}: {error.strerror}", "Choose a folder you may write with --work."
        )

    def stage(self, name: str, inputs: dict[str, Any], *, version: int) -> Stage:
        stage = Stage(name, version, inputs, Path(), Path())
        key = atomic.digest(stage.identity)[:16]
        return replace(stage, path=self.root / f"{name}-{key}", partial=self.root / f".{name}-{key}.partial")

    def decision(
        self,
        name: str,
        inputs: dict[str, Any],
        decide: Callable[[], tuple[Any, str]],
        *,
        kind: Any = Any,
        again: Callable[[Any], bool] = lambda value: False,
    ) -> tuple[Any, str]:
        """A choice with its reason: made once, then read back, so that a resumed build repeats it.

        `decide` makes the choice and puts it to use: what it raises is raised here, and nothing is kept. A file that
        cannot be read, or holds a value that is not of type `kind` (as records.value_of takes it), is made again, and
        so is a value that `again` is true for.
        """
        path = self.root / "decisions" / f"{name}-{atomic.digest(inputs)[:16]}.json"
        if path.is_file():
            try:
                kept = records.read(_Decision, outside.read_object(path), str(path))
                value = records.value_of(kind, kept.value, str(path), "value")
                if kept.sha256 not in ("", kept.sum):
                    raise ValueError("its sum is another one")
                if not again(value):
                    return value, kept.reason
            except (ValueError, InputError) as error:
                log.warning("%s is damaged (%s): the choice is made again", path, first_line(error))
        value, reason = decide()
        path.parent.mkdir(exist_ok=True)
        made = _Decision(value, reason, inputs)
        atomic.write_json(path, records.plain(replace(made, sha256=made.sum)))
        return value, reason

    def say(self, words: str) -> None:
        """Log how a choice came out, once: several stages of a build ask for the same one."""
        if words not in self._said:
            self._said.add(words)
            log.info("%s", words)


def _regular(path: str, flags: int) -> int:
    """Open a file that is one: a pipe of its name would let a build wait for ever."""
    descriptor = os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, f"{path} is no regular file")
    return descriptor
