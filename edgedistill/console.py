"""What a person sees while a build runs: progress bars with an ETA, notes, warnings. All of it goes to stderr.

Bars appear on a terminal only; in a pipe or a log file each stage is one line when it ends.
"""

from __future__ import annotations

import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

talk = Console(stderr=True, highlight=False, soft_wrap=True)


class Progress(Protocol):
    """What a long loop needs to report: how much there is, how much is done, and a few words."""

    def start(self, title: str, total: int) -> None: ...
    def advance(self, n: int = 1, note: str = "") -> None: ...
    def done(self) -> None: ...


class Silent:
    """Progress for tests and library use: says nothing."""

    def start(self, title: str, total: int) -> None: ...
    def advance(self, n: int = 1, note: str = "") -> None: ...
    def done(self) -> None: ...


SILENT = Silent()


class Bar:
    """A bar on a terminal, one closing line elsewhere."""

    def __init__(self, console: Console = talk) -> None:
        self._console = console
        self._progress: RichProgress | None = None
        self._task = TaskID(0)
        self._title = ""
        self._began = 0.0
        self._total = 0
        self._note = ""

    def start(self, title: str, total: int) -> None:
        self._title, self._total, self._note, self._began = title, total, "", time.perf_counter()
        if not self._console.is_terminal:
            return
        self._progress = RichProgress(
            TextColumn("  {task.description:<22}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[note]}"),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task(title, total=total, note="")
        self._progress.start()

    def advance(self, n: int = 1, note: str = "") -> None:
        self._note = note or self._note
        if self._progress:
            self._progress.update(self._task, advance=n, note=self._note)

    def done(self) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None
        seconds = time.perf_counter() - self._began
        note = f"  {self._note}" if self._note else ""
        self._console.print(f"  {self._title:<22} {self._total} in {seconds:.0f} s{note}", markup=False)
