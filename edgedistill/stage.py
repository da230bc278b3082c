"""The work folder: one sub-folder a stage, named by the hash of the stage's inputs, there only when it is whole.

    .edgedistill/
        text-3f9c…/            a finished stage
        .store-81aa….partial/  one that was interrupted; the next run goes on in it
        decisions/             choices made by timing, kept so that a resumed build makes the same ones

A stage whose folder exists is done. It works in `partial` and calls `finish()`; because the name holds the inputs, a
changed prompt set or student makes a new folder and leaves every other stage as it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import atomic
from .errors import InputError


@dataclass(frozen=True)
class Stage:
    """One stage's place in the work folder. `inputs` is everything its result depends on."""

    name: str
    inputs: dict[str, Any]
    path: Path
    partial: Path

    @property
    def done(self) -> bool:
        return self.path.is_dir()

    def begin(self) -> Path:
        """The folder to work in; keeps what an interrupted run left there."""
        self.partial.mkdir(parents=True, exist_ok=True)
        return self.partial

    def finish(self) -> Path:
        """Record the inputs and make the folder appear under its final name."""
        atomic.write_json(self.partial / "inputs.json", self.inputs)
        atomic.publish(self.partial, self.path)
        return self.path


class WorkFolder:
    """Where a build keeps its stages. Raises InputError when the folder cannot be written."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            (root / "decisions").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"cannot write the work folder {root}: {error.strerror}",
                "Choose a folder you may write with --work.",
            ) from error

    def stage(self, name: str, inputs: dict[str, Any]) -> Stage:
        key = atomic.digest({"stage": name, "inputs": inputs})[:16]
        return Stage(name, inputs, self.root / f"{name}-{key}", self.root / f".{name}-{key}.partial")

    def decision(self, name: str, inputs: dict[str, Any], decide: Callable[[], tuple[Any, str]]) -> tuple[Any, str]:
        """A choice made by timing, with its reason: measured once, then read back, so a resumed build repeats it."""
        path = self.root / "decisions" / f"{name}-{atomic.digest(inputs)[:16]}.json"
        if path.is_file():
            kept = json.loads(path.read_text())
            return kept["value"], kept["reason"]
        value, reason = decide()
        atomic.write_json(path, {"value": value, "reason": reason, "inputs": inputs})
        return value, reason
