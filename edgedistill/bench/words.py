"""A report for a person: the table, why a row does not count, what the columns mean. It decides nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..targets import flaws
from ..targets.names import on_gpu
from ..targets.printable import line
from ..targets.temperatures import of_processor
from ..work.console import Terminal
from .report import Report, Row

MISSING = "–"
WIDE = 160  # a table is never cut: a narrower terminal breaks its lines

SETTINGS = ("runtime", "threads", "batch")  # shown once where all rows have the same

Column = tuple[str, Callable[[Row], str]]


def show(report: Report) -> None:
    """Print the report on stdout."""
    console = Terminal()
    console.width = max(console.width, WIDE)
    draw(report, console)


def draw(report: Report, console: Console) -> None:
    """Print the report on `console`."""
    console.print(headline(report), style="bold", markup=False)
    console.print(_table(report))
    for words in (*remarks(report), *legend(report)):
        console.print(words, markup=False, soft_wrap=True)


def headline(report: Report) -> str:
    """The machine, and what all rows have in common."""
    ran = next((row for row in report.rows if row.failed is None), report.rows[0])
    same = [f"{name} {setting(ran, name)}" for name in SETTINGS if not differs(report, name)]
    return ", ".join([report.device["name"], *same])


def remarks(report: Report) -> list[str]:
    """Rows that do not run or do not count and why, each reason once, and the state the machine was in."""
    rows_of: dict[str, list[int]] = {}
    for number, row in enumerate(report.rows, 1):
        for reason in _reasons(row):
            rows_of.setdefault(reason, []).append(number)
    found = [f"Row {', '.join(map(str, numbers))}: {reason}" for reason, numbers in rows_of.items()]
    return [*found, f"Machine: {state(report)}"]


def _reasons(row: Row) -> list[str]:
    if row.failed is not None:
        return [f"does not run: {row.failed}"]
    return [f"does not count: {flaws.words(flaw)}" for flaw in row.invalid]


def state(report: Report) -> str:
    """How busy the machine was, its clocks and its temperature, as far as it tells."""
    measured = [row for row in report.rows if row.machine_state]
    found = (measured[-1].machine_state or {})["after"] if measured else {}
    words = []
    if report.other_cpus is not None:
        words.append(f"other programs kept {report.other_cpus:.2f} of {report.cpus} processors busy")
    if average := found.get("load_average"):
        words.append(f"load {average[0]:.2f}")
    if clocks := found.get("cpu"):
        words.append(
            f"{'/'.join(clocks['governors']) or 'governor unknown'}, {clocks['mhz']} of {clocks['max_mhz']} MHz"
        )
    if mode := found.get("power_mode"):
        words.append(f"power mode {mode}")
    hottest = _temperature(found, gpu=bool(measured) and on_gpu(measured[-1].runtime["name"]))
    words.append("temperature not known" if hottest is None else f"{hottest:.0f} C")
    return ", ".join(words)


def _temperature(found: dict[str, Any], *, gpu: bool) -> float | None:
    """Celsius of the processor that ran the model."""
    if gpu and (of_gpu := found.get("gpu", {}).get("temperature_c")) is not None:
        return of_gpu
    return max(of_processor(found.get("temperature_c", {}), gpu=gpu).values(), default=None)


def legend(report: Report) -> list[str]:
    """What the columns mean."""
    lines = [
        "p50, p95, p99: ms a query, from arrays in to arrays out; of rounds: the middle eight of ten rounds' medians.",
        "load, first: ms of a cold start in a fresh process, after its imports. MB: the memory it then took to serve "
        "(of a GPU that has its own: there, the CUDA context counted).",
    ]
    if _is_compared(report):
        several = len({row.model for row in report.rows}) > 1
        first = "the first model's with the same settings" if several else "the first row's"
        lines.append(
            f"ratio: time an item over {first}, round by round, with a 97.9 % interval: the second smallest to the "
            "second largest of ten rounds."
        )
    return lines


def _is_compared(report: Report) -> bool:
    return any(row.ratio and row.ratio.to != index for index, row in enumerate(report.rows))


def setting(row: Row, name: str) -> str:
    if name == "runtime":
        version = row.runtime.get("version")
        return f"{row.runtime['name']} {version}" if version else row.runtime["name"]
    value = row.batch if name == "batch" else row.runtime["threads"]
    return MISSING if value is None else str(value)


def differs(report: Report, name: str) -> bool:
    return len({setting(row, name) for row in report.rows if row.failed is None}) > 1


def _table(report: Report) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    columns = _columns(report)
    for name, _ in columns:
        table.add_column(name, no_wrap=True, justify="left" if name in ("model", "runtime", "") else "right")
    for row in report.rows:
        style = "" if row.counts else "yellow"
        table.add_row(*(Text(line(cell(row)), style=style) for _, cell in columns))
    return table


def _columns(report: Report) -> list[Column]:
    columns: list[Column] = [("model", lambda row: row.model)]
    columns += [(name, _cell_of(name)) for name in SETTINGS if differs(report, name)]
    columns += [
        ("p50", _latency("p50")),
        ("of rounds", _interval),
        ("p95", _latency("p95")),
        ("p99", _latency("p99")),
        ("items/s", lambda row: MISSING if row.items_per_s is None else f"{row.items_per_s:,.0f}"),
    ]
    if _is_compared(report):
        columns.append(("ratio", _ratio(report)))
    columns += [
        ("load", lambda row: ms(getattr(row.cold_start_ms, "load", None))),
        ("first", lambda row: ms(getattr(row.cold_start_ms, "first", None))),
        ("MB", _memory),
    ]
    if any(row.accuracy is not None for row in report.rows):
        columns.append(("accuracy", lambda row: MISSING if row.accuracy is None else f"{row.accuracy:.3f}"))
    if not all(row.counts for row in report.rows):
        columns.append(("", _standing))
    return columns


def _cell_of(name: str) -> Callable[[Row], str]:
    return lambda row: setting(row, name)


def _latency(name: str) -> Callable[[Row], str]:
    return lambda row: ms(getattr(row.latency_ms, name, None))


def _interval(row: Row) -> str:
    return f"{ms(row.latency_ms.low)} .. {ms(row.latency_ms.high)}" if row.latency_ms else ""


def _ratio(report: Report) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        ratio = row.ratio
        if ratio is None:
            return MISSING
        return "1" if report.rows[ratio.to] is row else f"{ratio.value:.3f} ({ratio.low:.3f} .. {ratio.high:.3f})"

    return cell


def _memory(row: Row) -> str:
    peak = row.memory_mb and row.memory_mb["peak"]
    return MISSING if peak is None else f"{peak:.0f}"


def _standing(row: Row) -> str:
    return "does not run" if row.failed is not None else "does not count" if row.invalid else ""


def ms(value: float | None) -> str:
    if value is None:
        return MISSING
    digits = 0 if value >= 100 else 2 if value >= 10 else 3
    return f"{value:.{digits}f}"
