"""Measuring on this very machine, with the program that a bundle carries: the workshop's copy of it, in a process of
its own, as on a board."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

from ..errors import InputError
from ..targets import machine
from ..targets.manifest import Manifest

log = logging.getLogger(__name__)

VALID, INVALID = 0, 4  # exit codes of run.py verify that leave a result


def measure(manifest: Manifest, *, threads: int | None = None) -> list[Path]:
    """Run `verify` on every model that may decide here; the result files, in the profile's order of trial.

    Where this machine is not the profile's device, or has none of its runtimes, fp32 runs on the profile's reference
    runtime instead: that tells the agreement, and decides nothing. Raises InputError with run.py's own two lines.
    """
    profile = manifest.profile
    if machine.identify(profile).status == machine.MATCH:
        listed = [name for name in profile["model"]["precisions"] if name in manifest.precisions] or ["fp32"]
        try:
            return [verify(manifest.path, precision, threads=threads) for precision in listed]
        except InputError as error:
            if profile["runtime"]["reference"] in profile["runtime"]["prefer"]:
                raise
            log.warning("%s: %s", error.wrong, error.todo)
    return [verify(manifest.path, "fp32", runtime=profile["runtime"]["reference"], threads=threads, quick=True)]


def verify(
    bundle: Path, precision: str, *, runtime: str | None = None, threads: int | None = None, quick: bool = False
) -> Path:
    """One `run.py verify` of one model; the path of its result. `quick` times no longer than it has to.

    A run on a machine that was too hot or throttled does not count: it is made once more, and the second result is
    kept whatever it says.
    """
    out = (bundle / "results" / f"{precision}.json").resolve()
    command = [sys.executable, "-m", "edgedistill.targets.run", "verify", "--bundle", str(bundle.resolve())]
    command += ["--model", precision, "--out", str(out)]
    command += ["--runtime", runtime] if runtime else []
    command += ["--threads", str(threads)] if threads else []
    command += ["--warmup-s", "0", "--min-s", "0", "--min-queries", "1"] if quick else []
    _run(command, precision, out)
    invalid = json.loads(out.read_text(encoding="utf-8"))["invalid"]
    if passing := [reason for reason in invalid if machine.may_pass(reason)]:
        log.warning("the run of %s does not count and is made again: %s", precision, "; ".join(passing))
        _run(command, precision, out)
    return out


def _run(command: list[str], precision: str, out: Path) -> None:
    """Run a verify command, which leaves `out`. Raises InputError with its own two lines where it does not."""
    out.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as empty:  # `-m` puts the working folder on sys.path
        ran = subprocess.run(command, cwd=empty, capture_output=True, text=True, errors="replace", check=False)
    if ran.returncode in (VALID, INVALID) and out.is_file():
        return
    lines = [line for line in ran.stderr.strip().splitlines() if line.strip()] or [f"exit code {ran.returncode}"]
    if ran.returncode == 2 and len(lines) >= 2:
        raise InputError(lines[-2].removeprefix("error: "), lines[-1])
    raise InputError(
        f"measuring {precision} on this machine failed: {lines[-1]}",
        f"Run `{' '.join(command)}` to see all of it.",
    )
