"""What a run of `run.py verify` left, wherever it ran: results, and how it ended."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..targets import result
from ..targets.length import AGAIN
from ..work import atomic

log = logging.getLogger(__name__)

VALID, INVALID = 0, 4  # exit codes of run.py verify that leave results
RESULTS = "results"
HERE = "this machine"


def told_again(said: Sequence[str]) -> list[str]:
    """Of its lines on stderr those that say why it measured again."""
    return [line for line in said if line.startswith(AGAIN)]


def kept(folder: Path, found: Sequence[Path], beside: bool = True) -> list[Path]:
    """Results put into `folder`, each whole, and the files they are now. beside: others of before may stay there.

    Where it cannot be written (a disk that is read-only, full or gone) they go into a new folder in the system's place
    for temporary files, with a warning that names it: what was measured is judged all the same.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in found:
            atomic.write_bytes(folder / path.name, path.read_bytes())
        if not beside:
            result.remove_stale(folder, {path.stem for path in found})
    except (OSError, InputError) as error:
        why = error.wrong if isinstance(error, InputError) else error.strerror
        folder = Path(tempfile.mkdtemp(prefix="edgedistill-results-"))
        for path in found:
            atomic.write_bytes(folder / path.name, path.read_bytes())
        log.warning("the results cannot be stored in the bundle (%s): they lie in %s", why, folder)
    return sorted(folder / path.name for path in found)


def failure(said: Sequence[str], code: int, where: str, todo: str) -> InputError:
    """The error of a run that left no result: its own two lines (`said`: its stderr), or the last one and `todo`."""
    lines = [line for line in said if line.strip()] or [f"exit code {code}"]
    if code == 2 and len(lines) >= 2:
        wrong = lines[-2].removeprefix("error: ")
        return InputError(wrong if where == HERE else f"on {where}: {wrong}", lines[-1])
    return InputError(f"measuring on {where} failed: {lines[-1]}", todo)
