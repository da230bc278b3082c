"""This very machine: the program that a bundle carries, the workshop's copy of it, in a process of its own, as on a
board."""

from __future__ import annotations

import logging
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..targets import lifeline, machine
from ..targets.manifest import Manifest
from ..work.console import SILENT, Progress
from ..work.scratch import scratch
from .folder import Folder
from .measured import HERE, INVALID, RESULTS, VALID, failure, kept, results_of, told_again
from .measurement import FULL, Measurement

log = logging.getLogger(__name__)

ELSEWHERE = "results/elsewhere"  # of this machine where it is not the board: apart, as they decide nothing
QUICK = ("--warmup-s", "0", "--min-s", "0", "--min-queries", "1")  # times no longer than it has to


@dataclass(frozen=True)
class Local:
    """The machine that runs this."""

    name: str = "local"
    named: bool = False

    def check(self, profile: dict[str, Any], bundle: Path) -> None:
        """A machine that is not the board, or lacks its runtimes, tells the agreement all the same."""

    @contextmanager
    def measure(
        self, manifest: Manifest, asked: Measurement = FULL, progress: Progress = SILENT
    ) -> Iterator[list[Path]]:
        """The results of every candidate, in the bundle's results/.

        Where this machine is not the profile's device, or has none of its runtimes, fp32 runs on the profile's
        reference runtime instead: that tells the agreement, and decides nothing. Raises InputError with run.py's own
        two lines.
        """
        yield self._measured(manifest, asked)

    def _measured(self, manifest: Manifest, asked: Measurement) -> list[Path]:
        profile, bundle = manifest.profile, manifest.path
        if asked.mode == "soak":
            log.info("a soak takes ten minutes a candidate")
        if machine.identify(profile).status == machine.MATCH:
            try:
                return verify(bundle, results_of(manifest), *asked.arguments)
            except InputError as error:
                if profile["runtime"]["reference"] in profile["runtime"]["prefer"]:
                    raise
                log.warning("%s: %s", error.wrong, error.todo)
        reference = ("--model", "fp32", "--runtime", profile["runtime"]["reference"])
        return verify(bundle, results_of(manifest, ELSEWHERE), *reference, *asked.arguments, *QUICK)

    def next_steps(self, manifest: Manifest, *, unstable: bool) -> tuple[str, ...]:
        """Measure again where this machine is the board; else the way to the board."""
        if not unstable:
            return Folder().next_steps(manifest, unstable=False)
        return (
            "# here: stop what else runs on this machine, and measure again",
            f"edgedistill verify {shlex.quote(str(manifest.path))}",
        )

    def anonymous(self) -> Local:
        """There is nothing of this machine in it."""
        return self


def verify(bundle: Path, out: Path, *arguments: str) -> list[Path]:
    """One `run.py verify` of `bundle` with these arguments; the results it wrote, moved into the folder `out`.

    Those of a former measurement do not stay beside them in the bundle's own folder of results.
    """
    with scratch(bundle / RESULTS) as folder:
        _run(bundle, folder, arguments)
        return kept(out, list(folder.glob("*.json")), beside=out != bundle / RESULTS)


def _run(bundle: Path, out: Path, arguments: tuple[str, ...]) -> None:
    """Run a verify command, which leaves results in `out`. Raises InputError with its two lines where it fails."""
    command = [sys.executable, "-m", "edgedistill.targets.run", "verify", "--bundle", str(bundle.resolve())]
    command += ["--out", str(out), *arguments]
    ran = lifeline.run(command, folder=lifeline.AMONG_ITS_OWN, scratch=out)
    if ran.returncode in (VALID, INVALID) and any(out.glob("*.json")):
        for line in told_again(ran.stderr.splitlines()):
            log.warning("%s", line)
        return
    todo = f"Run `{shlex.join(command)}` to see all of it."
    raise failure(ran.stderr.splitlines(), ran.returncode, HERE, todo)
