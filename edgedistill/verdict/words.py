"""What closes a build on the terminal: the verdict as a table, a sentence, and, when not measured, what to run where.

Reads verdict.json's content (DESIGN 3.3) and decides nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .decide import LABELLED_ENOUGH, Verdict, sentence

COLOUR = {"pass": "green", "fail": "red", "unmeasured": "yellow"}
MISSING = "–"


def show(verdict: Verdict, folder: Path, *, as_json: bool) -> None:
    """Print the table and the closing sentence on stdout, or, with `as_json`, on stderr and the JSON on stdout."""
    if as_json:
        print(json.dumps(verdict.to_json(), indent=1, sort_keys=True))
    draw(verdict, folder, Console(stderr=as_json, highlight=False))


def draw(verdict: Verdict, folder: Path, console: Console) -> None:
    """Print the table, the closing sentence and the next steps on `console`."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "measured", "", "budget", ""):
        table.add_column(column)
    for row in rows(verdict):
        table.add_row(*row)
    console.print(table)
    wrap = not console.record  # a terminal wraps by itself, and its lines can be copied whole; a picture cannot
    headline = (f"{verdict.verdict.upper()}  ", f"bold {COLOUR[verdict.verdict]}")
    console.print(Text.assemble(headline, sentence(verdict)), soft_wrap=wrap)
    for line in (*notes(verdict), *verdict.next):
        console.print(f"  {line}", markup=False, soft_wrap=wrap)
    console.print(f"Bundle: {folder}", markup=False, soft_wrap=wrap)


def notes(verdict: Verdict) -> list[str]:
    """What a person should know beside the table: why a run does not count, changed budgets, images not used."""
    changed = [f"{name} {value:g}" for name, value in verdict.budget["overrides"].items()]
    skipped = {"photos": verdict.skipped["images"], "check images": verdict.skipped["check"]}
    return [
        *(f"{detail}." for detail in verdict.details),
        *([f"Budgets changed for this build: {', '.join(changed)}."] if changed else []),
        *(
            f"Not used, {what}: {', '.join(f'{count} {reason}' for reason, count in found.items())}."
            for what, found in skipped.items()
            if found
        ),
    ]


Row = tuple[str, str, str, str, str]


def rows(verdict: Verdict) -> list[Row]:
    """The table: what, figure, its interval or its kind, the budget, a mark."""
    return [*_quality_rows(verdict), *_cost_rows(verdict)]


def _quality_rows(verdict: Verdict) -> list[Row]:
    budget, agreement, accuracy = verdict.budget, verdict.agreement, verdict.accuracy
    by_accuracy = accuracy is not None and accuracy["images"] >= LABELLED_ENOUGH
    found: list[Row] = []
    if agreement:
        limit = "reported only" if by_accuracy else f"low end ≥ {budget['agreement_min']:.2f}"
        mark = "" if by_accuracy else _mark(verdict, "agreement")
        found.append(("agreement with teacher", f"{agreement['value']:.3f}", _interval(agreement), limit, mark))
    if accuracy:
        points = f"{100 * accuracy['low']:+.1f} to {100 * accuracy['high']:+.1f} points"
        limit = f"low end ≥ {-100 * budget['accuracy_drop_max']:g}" if by_accuracy else "reported only"
        mark = _mark(verdict, "accuracy") if by_accuracy else ""
        found.append(("accuracy, teacher", f"{accuracy['teacher']:.3f}", f"{accuracy['images']} images", "", ""))
        found.append(("accuracy, student", f"{accuracy['student']:.3f}", points, limit, mark))
    if verdict.start:
        found.append(("before training", *_torch_figures(verdict.start), "", ""))
    found += [(f"seed {row['seed']}", *_torch_figures(row), "", "") for row in verdict.seeds or []]
    if verdict.seeds:
        values = [row["agreement"] for row in verdict.seeds]
        spread = f"{min(values):.3f} to {max(values):.3f}"
        found.append((f"mean of {len(values)} seeds", f"{sum(values) / len(values):.3f}", spread, "", ""))
    return found


def _cost_rows(verdict: Verdict) -> list[Row]:
    budget, latency, memory = verdict.budget, verdict.latency_ms, verdict.memory_mb
    found: list[Row] = []
    for name, limit, row in (
        ("latency p95", f"≤ {budget['latency_p95_ms']:g} ms", latency and _latency(latency)),
        ("memory", f"≤ {budget['memory_mb']:g} MB", memory and _memory(memory)),
    ):
        value, kind = row or (MISSING, "")
        found.append((name, value, kind, limit, _mark(verdict, name.split()[0]) if row else ""))
    found.append(("model", f"{verdict.model['bytes'] / 1e6:.1f} MB", verdict.model["precision"], "", ""))
    for candidate in verdict.precision_candidates:
        if candidate["not_built"]:
            found.append(("", "not built", candidate["precision"], "", ""))
    return found


def _interval(agreement: dict[str, Any]) -> str:
    return f"{agreement['low']:.3f} to {agreement['high']:.3f}, {agreement['images']} images"


def _latency(latency: dict[str, Any]) -> tuple[str, str]:
    return f"{latency['p95']:.2f} ms", f"p50 {_ms(latency['p50'])}, p99 {_ms(latency['p99'])}"


def _memory(memory: dict[str, Any]) -> tuple[str, str]:
    return f"{memory['peak']:.0f} MB", memory["kind"].replace("_", " ")


def _mark(verdict: Verdict, figure: str) -> str:
    if verdict.verdict == "unmeasured":
        return ""
    return "✗" if any(reason.startswith(figure) for reason in verdict.reasons) else "✓"


def _torch_figures(row: dict[str, Any]) -> tuple[str, str]:
    accuracy = f"accuracy {row['accuracy']:.3f}" if row["accuracy"] is not None else ""
    return f"{row['agreement']:.3f}", accuracy


def _ms(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
