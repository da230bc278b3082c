"""What a run of `run.py verify` left, wherever it ran: results, and how it ended."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..targets import lifeline, outside, result
from ..targets.errors import TargetError
from ..targets.length import AGAIN
from ..targets.manifest import Manifest
from ..work import atomic

log = logging.getLogger(__name__)

VALID, INVALID = 0, 4  # exit codes of run.py verify that leave results
RESULTS = "results"
VERDICT = "verdict.json"  # what was decided; run.py takes the precision in use from it
HERE = "this machine"


def results_of(manifest: Manifest, name: str = RESULTS) -> Path:
    """The folder of the bundle's results. Raises InputError where it is a link that leaves the bundle."""
    try:
        return manifest.place(name)
    except TargetError as error:
        raise InputError(error.wrong, error.todo) from error


def verdict_of(path: Path) -> str:
    """What was decided, as it stands in the file. Raises InputError where it cannot be read."""
    try:
        return outside.read_text(path, outside.SMALL.size)
    except (OSError, outside.Unfit) as error:
        raise InputError(f"{path}: {error}", "Verify the bundle again.") from error


def brought(copy: Path) -> list[Path]:
    """The results in a copy of the bundle that comes from elsewhere. Raises InputError for a link among them, or to
    them: it would bring in a file of this machine."""
    folder = copy / RESULTS
    found = [] if folder.is_symlink() else sorted(folder.glob("*.json"))
    for path in (copy, folder, *found):
        _refuse_link(path)
    return found


def _refuse_link(path: Path) -> None:
    if path.is_symlink():
        raise InputError(f"{path} is a link", "Delete it, and measure there again: python3 run.py verify")


def told_again(said: Sequence[str]) -> list[str]:
    """Of its lines on stderr those that say why it measured again."""
    return [line for line in said if line.startswith(AGAIN)]


def kept(folder: Path, found: Sequence[Path], beside: bool = True) -> list[Path]:
    """Results put into `folder`, each whole, and the files they are now. beside: others of before may stay there.

    Where it cannot be written (a disk that is read-only, full or gone) they go into a new folder in the system's place
    for temporary files, with a warning that names it: what was measured is judged all the same.
    """
    contents = {path.name: _content(path) for path in found}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            atomic.write_bytes(folder / name, content)
        if not beside:
            result.remove_stale(folder, {path.stem for path in found})
    except (OSError, InputError) as error:
        why = error.wrong if isinstance(error, InputError) else error.strerror
        folder = Path(tempfile.mkdtemp(prefix="edgedistill-results-"))
        for name, content in contents.items():
            atomic.write_bytes(folder / name, content)
        log.warning("the results cannot be stored in the bundle (%s): they lie in %s", why, folder)
    return sorted(folder / path.name for path in found)


def _content(path: Path) -> bytes:
    _refuse_link(path)
    try:
        return outside.read_bytes(path, outside.SMALL.size)
    except (OSError, outside.Unfit) as error:
        raise InputError(f"{path} cannot be read: {error}", "Measure there again: python3 run.py verify") from error


def failure(said: Sequence[str], code: int, where: str, todo: str) -> InputError:
    """The error of a run that left no result: its own two lines (`said`: its stderr), or the last one and `todo`."""
    lines = [line for line in said if line.strip()] or [f"exit code {code}"]
    if code == 2 and len(lines) >= 2:
        wrong = lines[-2].removeprefix("error: ")
        return InputError(wrong if where == HERE else f"on {where}: {wrong}", lines[-1])
    if code == lifeline.KILLED:
        return InputError(
            f"measuring on {where} was ended by signal 9",
            "Memory may have run out: free some memory and run the command again.",
        )
    return InputError(f"measuring on {where} failed: {lines[-1]}", todo)
