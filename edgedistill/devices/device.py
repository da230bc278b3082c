"""A device: a place where a bundle can be run and measured, as `--device` names it.

To add one: a file with a class of the members below, and its line in `DEVICES`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from ..errors import InputError
from ..targets.manifest import Manifest
from ..work.console import SILENT, Progress
from .address import SCHEME
from .folder import Folder
from .local import Local
from .measurement import FULL, Measurement
from .ssh import Ssh


class Device(Protocol):
    """How the workshop reaches a place that measures. What is measured, and how, is targets/run.py's everywhere."""

    @property
    def name(self) -> str:
        """As `--device` calls it."""

    @property
    def named(self) -> bool:
        """Whether the user said that this is the board, so that any other machine is the wrong one."""

    def check(self, profile: dict[str, Any], bundle: Path) -> None:
        """What can be known before a build about whether the bundle, which need not be there yet, can be measured.

        profile: Profile.to_json(). Raises InputError, as `measure` would hours later. A device that another one uses
        now is no error.
        """

    def measure(
        self, manifest: Manifest, asked: Measurement = FULL, progress: Progress = SILENT
    ) -> AbstractContextManager[list[Path]]:
        """Measure the bundle's candidates: `with device.measure(manifest) as files`, those that `run.py verify` wrote,
        [] where that has to wait.

        Inside is decided; the verdict.json that the bundle holds at the end is put into the device's copy of it, so
        that `run.py predict` takes the selected precision there, too. Where that fails, a warning says so. run.py
        itself makes a run again that does not count for the state of the machine. Raises InputError where the device
        cannot be reached or a runtime does not start.
        """

    def next_steps(self, manifest: Manifest, *, unstable: bool) -> tuple[str, ...]:
        """What to type for a verdict that is missing: shell lines, and comments that say where.

        unstable: it was measured where it should be, and the measurement was not sound.
        """

    def anonymous(self) -> Device:
        """The same with nothing in `next_steps` that names a machine, a user or a path: for what ships."""


DEVICES: dict[str, Device] = {"local": Local(), "folder": Folder()}
WITH_A_PLACE: dict[str, Callable[[str], Device]] = {SCHEME: Ssh.at, "folder:": Folder.at}


def find_device(name: str) -> Device:
    """The device that `--device NAME` means. Raises InputError naming those there are, and for a place that is none."""
    if name in DEVICES:
        return DEVICES[name]
    for beginning, device in WITH_A_PLACE.items():
        if name.startswith(beginning):
            return device(name)
    raise InputError(
        f"no device is called {name!r}", f"Use one of: {', '.join(DEVICES)}, folder:PLACE, {SCHEME}USER@BOARD."
    )
