"""What a run of `run.py verify` left, wherever it ran: results, and how it ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from ..errors import InputError
from ..targets import flaws
from ..targets.flaws import Flaw

VALID, INVALID = 0, 4  # exit codes of run.py verify that leave results
RESULTS = "results"
HERE = "this machine"


def passing_flaws(folder: Path) -> list[str]:
    """The flaws of the results in `folder` that lie in the state of the machine, in words, each once. A result that is
    none has none: verdict/results.py says what is wrong with it."""
    found: dict[str, None] = {}
    for path in sorted(folder.glob("*.json")):
        try:
            for entry in json.loads(path.read_text(encoding="utf-8")).get("invalid", ()):
                if (flaw := Flaw(**entry)).may_pass:
                    found[flaws.words(flaw)] = None
        except (ValueError, TypeError, AttributeError):
            continue
    return list(found)


def failure(said: Sequence[str], code: int, where: str, todo: str) -> InputError:
    """The error of a run that left no result: its own two lines (`said`: its stderr), or the last one and `todo`."""
    lines = [line for line in said if line.strip()] or [f"exit code {code}"]
    if code == 2 and len(lines) >= 2:
        wrong = lines[-2].removeprefix("error: ")
        return InputError(wrong if where == HERE else f"on {where}: {wrong}", lines[-1])
    return InputError(f"measuring on {where} failed: {lines[-1]}", todo)
