"""What a person sees while a build runs: progress bars with an ETA, notes, warnings. All of it goes to stderr.

Bars appear on a terminal only; in a pipe or a log file each stage is one line when it ends.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import sys
import time
from collections.abc import Iterator
from typing import Any, Protocol

from rich.console import Console, ConsoleOptions, ConsoleRenderable, RenderHook
from rich.highlighter import NullHighlighter
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.segment import Segment
from rich.text import Span, Text

from ..targets.printable import LogLine, line
from ..targets.streams import encodable


class _Harmless(RenderHook):
    """What is printed passes through targets/printable.py, line by line; rich's own control codes stay."""

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        return [_Shown(one) for one in renderables]


class _Shown:
    def __init__(self, inner: ConsoleRenderable) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for text, style, control in console.render(self._inner, options):
            yield Segment(text if control else "\n".join(map(line, text.split("\n"))), style, control)


class Terminal(Console):
    """The one way to print by rich: nothing in a text acts on the terminal, and `[...]` in it is no markup. A text that
    is printed is one line: a line break in it is shown as an escape, and feigns no line of ours."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"highlight": False, "markup": False, "emoji": False, **options})
        self.push_render_hook(_Harmless())

    def print(self, *objects: Any, **options: Any) -> None:
        super().print(*map(_one_line, objects), **options)


def _one_line(given: Any) -> Any:
    """A str or a Text as one line, its styles kept; anything else as it is."""
    if isinstance(given, str):
        return line(given)
    if not isinstance(given, Text) or line(given.plain) == given.plain:
        return given
    shown = [line(char) for char in given.plain]
    ends = list(itertools.accumulate(map(len, shown), initial=0))
    whole = given.blank_copy("".join(shown))
    whole.spans = [Span(ends[span.start], ends[min(span.end, len(shown))], span.style) for span in given.spans]
    return whole


class _Talk(Terminal):
    def on_broken_pipe(self) -> None:
        """Nobody reads any more: the work goes on without words (rich would end the process)."""
        self.quiet = True


talk = _Talk(stderr=True, soft_wrap=True)


def show_log() -> None:
    """Show what the package logs (choices with their reasons, warnings) as talk; other libraries' warnings stay out.

    For a program of our own: it takes the place of whatever handlers the package's logger had.
    """
    encodable(sys.stderr)
    handler = RichHandler(
        console=talk, show_time=False, show_level=False, show_path=False, markup=False, highlighter=NullHighlighter()
    )
    handler.setFormatter(LogLine("warning: "))
    package = logging.getLogger("edgedistill")
    package.handlers = [handler]
    package.setLevel(logging.INFO)
    package.propagate = False


class Progress(Protocol):
    """What a long loop needs to report: how much there is, how much is done, and a few words."""

    def start(self, title: str, total: int) -> None: ...  # total 0: not known
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
        self._began: float | None = None  # None: not begun, or done
        self._count = 0
        self._note = ""

    def start(self, title: str, total: int) -> None:
        self._title, self._count, self._note, self._began = line(title), 0, "", time.perf_counter()
        if not self._console.is_terminal:
            return
        self._progress = RichProgress(
            TextColumn("  {task.description:<22}", markup=False),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=self._console,
            transient=True,
        )
        self._task = self._progress.add_task(self._title, total=total or None, note="")
        self._progress.start()

    def advance(self, n: int = 1, note: str = "") -> None:
        self._count += n
        self._note = line(note) or self._note
        if self._progress:
            self._progress.update(self._task, advance=n, note=self._note)

    def done(self) -> None:
        if self._progress:
            self._progress.stop()
            self._progress = None
        if self._began is None:
            return
        seconds, self._began = time.perf_counter() - self._began, None
        note = f"  {self._note}" if self._note else ""
        with contextlib.suppress(OSError):  # a log file on a full disk: what was built is worth more than its line
            self._console.print(f"  {self._title:<22} {self._count:>6} in {seconds:.0f} s{note}", markup=False)
