"""A report as a picture: latency bars, or accuracy over latency where every row's accuracy is known."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

from ..errors import InputError
from ..work import atomic
from .report import Report, Row
from .words import SETTINGS, differs, headline, ms, setting

FORMATS = (".png", ".svg")
COLOUR, FAINT = "#1f6f8b", "#b8c4c9"  # a row that counts, and one that does not

BESIDE = {"textcoords": "offset points", "va": "center"}


def check(path: Path) -> None:
    """Raises InputError where `path` cannot be drawn: another format, or matplotlib is not installed."""
    if path.suffix not in FORMATS:
        raise InputError(f"--plot cannot write {path.name}", f"Give a name that ends in {' or '.join(FORMATS)}.")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise InputError(f"--plot needs matplotlib: {error}", "pip install matplotlib") from error


def write(report: Report, path: Path) -> None:
    """Draw the rows that ran into `path`, a PNG or an SVG by its name."""
    from matplotlib.figure import Figure

    rows = [row for row in report.rows if row.latency_ms]
    by_accuracy = all(row.accuracy is not None for row in rows)
    figure = Figure(figsize=(8, 4.5 if by_accuracy else 1.5 + 0.4 * len(rows)), layout="constrained")
    axes = figure.subplots()
    (_scatter if by_accuracy else _bars)(axes, rows, [_name(report, row) for row in rows])
    axes.set_title(headline(report), fontsize=9, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    drawn = BytesIO()
    figure.savefig(drawn, format=path.suffix[1:], dpi=150)
    atomic.write_bytes(path, drawn.getvalue())


def _bars(axes: Any, rows: Sequence[Row], names: Sequence[str]) -> None:
    """p50 a bar, with the interval of its rounds; p95 a mark."""
    places = range(len(rows))
    middle, reach, p95 = _latencies(rows)
    axes.barh(places, middle, xerr=reach, color=_colours(rows), height=0.6, error_kw={"capsize": 3, "lw": 1})
    axes.plot(p95, places, "|", color="black", markersize=14)
    for place, value, above, edge in zip(places, middle, reach[1], p95):
        axes.annotate(ms(value), (max(value + above, edge or 0), place), (8, 0), **BESIDE)
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlim(left=0)
    axes.set_xlabel(f"ms a query: bar p50 (interval of ten rounds), stroke p95{_paler(rows)}", fontsize=9)


def _scatter(axes: Any, rows: Sequence[Row], names: Sequence[str]) -> None:
    """Accuracy over p50: up and left is better."""
    middle, reach, _ = _latencies(rows)
    accuracies = [row.accuracy for row in rows]
    axes.errorbar(middle, accuracies, xerr=reach, fmt="none", ecolor=FAINT, capsize=3, zorder=1)
    axes.scatter(middle, accuracies, c=_colours(rows), zorder=2)
    for value, accuracy, name in zip(middle, accuracies, names):
        axes.annotate(name, (value, accuracy), (6, 6), textcoords="offset points", fontsize=9)
    axes.margins(0.2)
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)
    axes.set_ylabel("accuracy on the check images")
    axes.set_xlabel(f"p50, ms a query (interval of ten rounds){_paler(rows)}", fontsize=9)


def _latencies(rows: Sequence[Row]) -> tuple[list[float], list[list[float]], list[float | None]]:
    """p50 as the median of ten rounds, how far its interval reaches below and above, and p95."""
    found = [row.latency_ms for row in rows if row.latency_ms]
    middle = [median(one.rounds) for one in found]
    reach = [[m - one.low for m, one in zip(middle, found)], [one.high - m for m, one in zip(middle, found)]]
    return middle, reach, [one.p95 for one in found]


def _name(report: Report, row: Row) -> str:
    """The model, and the settings that differ."""
    settings = [f"{name} {setting(row, name)}" for name in SETTINGS if differs(report, name)]
    return ", ".join([row.model, *settings])


def _colours(rows: Sequence[Row]) -> list[str]:
    return [COLOUR if row.counts else FAINT for row in rows]


def _paler(rows: Sequence[Row]) -> str:
    return "" if all(row.counts for row in rows) else "; paler: does not count"
