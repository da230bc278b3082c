"""What closes a build on the terminal: the verdict as tables, a sentence, and, when not measured, what to run where."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..targets.printable import line, say_json
from ..work.console import Terminal
from .verdict import Agreement, Candidate, Costs, Latency, Memory, Seed, Start, Verdict
from .words import KEPT_BACK, candidate_name, notes, sentence

COLOUR = {"pass": "green", "fail": "red", "unmeasured": "yellow"}
MISSING = "–"


def show(verdict: Verdict, folder: Path, *, as_json: bool) -> None:
    """Print the tables and the closing sentence on stdout, or, with `as_json`, on stderr and the JSON on stdout."""
    if as_json:
        say_json(verdict.to_json(), indent=1, sort_keys=True)
    draw(verdict, folder, Terminal(stderr=as_json))


def draw(verdict: Verdict, folder: Path, console: Console) -> None:
    """Print the tables, the closing sentence and the next steps on `console`."""
    console.print(_table(("", "measured", "", "budget", ""), rows(verdict)))
    console.print(_table(("candidate", "p50 ms", "p95 ms", "MB", "agreement", ""), candidate_rows(verdict)))
    wrap = not console.record  # a terminal wraps by itself, and its lines can be copied whole; a picture cannot
    headline = (f"{verdict.verdict.upper()}  ", f"bold {COLOUR[verdict.verdict]}")
    console.print(Text.assemble(headline, sentence(verdict)), soft_wrap=wrap)
    for words in (*notes(verdict), *verdict.next):
        console.print(f"  {words}", markup=False, soft_wrap=wrap)
    console.print(f"Bundle: {folder}", markup=False, soft_wrap=wrap)


def _table(columns: tuple[str, ...], lines: list[tuple[str, ...]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0)
    for row in lines:
        table.add_row(*(Text(line(cell)) for cell in row))
    return table


def rows(verdict: Verdict) -> list[tuple[str, ...]]:
    """The first table: what, figure, its interval or its kind, the budget, a mark."""
    return [*_quality_rows(verdict), *_cost_rows(verdict)]


def candidate_rows(verdict: Verdict) -> list[tuple[str, ...]]:
    """The second table: every candidate with its figures, and why it is the one in use or is not."""
    several = len({one.device for one in verdict.precision_candidates if one.device}) > 1
    found: list[tuple[str, ...]] = []
    for one in verdict.precision_candidates:
        name = f"{candidate_name(one)} on {one.device}" if several and one.device else candidate_name(one)
        latency = one.latency_ms
        found.append(
            (
                name,
                _number(latency.p50 if latency else None),
                _number(latency.p95 if latency else None),
                MISSING if one.memory_mb is None else f"{one.memory_mb:.0f}",
                MISSING if one.agreement is None else f"{one.agreement:.3f}",
                _standing(one, verdict),
            )
        )
    return found


def _standing(one: Candidate, verdict: Verdict) -> str:
    """Why it is the one in use or is not, in a few words; `notes` has the long ones."""
    if one.not_built:
        return "not built"
    if one.error:
        return "does not run"
    if one.runtime is None:
        return "not measured"
    if one.obstacle:
        return "does not count" if one.obstacle.reason == "unstable" else "decides nothing"
    if one.kept_back and not one.over:
        return " and ".join(KEPT_BACK[why] for why in one.kept_back)
    if one.over:
        outside = ", ".join(over.figure for over in one.over)
        return f"{'best, but ' if one.selected else ''}over: {outside}"
    if one.selected:
        return "selected"
    return "not the fastest" if verdict.verdict == "pass" else "inside every budget"


def _quality_rows(verdict: Verdict) -> list[tuple[str, ...]]:
    budget, agreement, accuracy = verdict.budget, verdict.agreement, verdict.accuracy
    found: list[tuple[str, ...]] = []
    if agreement:
        limit = "reported only" if verdict.by_accuracy else f"low end ≥ {budget.agreement_min:.2f}"
        mark = "" if verdict.by_accuracy else _mark(verdict, "agreement")
        found.append(("agreement with teacher", f"{agreement.value:.3f}", _interval(agreement), limit, mark))
    if accuracy:
        points = f"{100 * accuracy.low:+.1f} to {100 * accuracy.high:+.1f} points"
        limit = f"low end ≥ {-100 * budget.accuracy_drop_max:g}" if verdict.by_accuracy else "reported only"
        mark = _mark(verdict, "accuracy") if verdict.by_accuracy else ""
        found.append(("accuracy, teacher", f"{accuracy.teacher:.3f}", f"{accuracy.images} images", "", ""))
        found.append(("accuracy, student", f"{accuracy.student:.3f}", points, limit, mark))
    if verdict.start:
        found.append(("before training", *_torch_figures(verdict.start), "", ""))
    found += [(f"seed {seed.seed}", *_torch_figures(seed), "", "") for seed in verdict.seeds or ()]
    if verdict.seeds:
        values = [seed.agreement for seed in verdict.seeds]
        spread = f"{min(values):.3f} to {max(values):.3f}"
        found.append((f"mean of {len(values)} seeds", f"{sum(values) / len(values):.3f}", spread, "", ""))
    return found


def _cost_rows(verdict: Verdict) -> list[tuple[str, ...]]:
    budget, latency, memory = verdict.budget, verdict.latency_ms, verdict.memory_mb
    found: list[tuple[str, ...]] = []
    for name, limit, row in (
        ("latency p95", f"high end ≤ {budget.latency_p95_ms:g} ms", latency and _latency(latency)),
        ("memory", f"≤ {budget.memory_mb:g} MB", memory and _memory(memory)),
    ):
        value, kind = row or (MISSING, "")
        found.append((name, value, kind, limit, _mark(verdict, name.split()[0]) if row else ""))
    found += _cost_words(verdict.costs) if verdict.costs else []
    found.append(("model", f"{verdict.model.bytes / 1e6:.1f} MB", verdict.model.precision, "", ""))
    return found


def _cost_words(costs: Costs) -> list[tuple[str, ...]]:
    """What decides nothing: a line each for what is known."""
    found = []
    if costs.load_ms is not None:
        found.append(("cold start", _ms(costs.load_ms), f"first query {_number(costs.first_ms)} ms"))
    if costs.end_to_end_ms is not None:
        found.append(("from file to answer", _ms(costs.end_to_end_ms), "decoding and resizing too"))
    if costs.energy_mj is not None:
        above = f"{_number(costs.energy_above_idle_mj)} above idle, {_number(costs.idle_w)} W"
        found.append(("energy a query", f"{costs.energy_mj:.1f} mJ", above))
    if costs.first_p50_ms is not None:
        last = f"and {_number(costs.last_p50_ms)} ms of the last"
        found.append(("p50 of the first tenth", _ms(costs.first_p50_ms), last))
    return [(*row, "reported only", "") for row in found]


def _interval(agreement: Agreement) -> str:
    return f"{agreement.low:.3f} to {agreement.high:.3f}, {agreement.images} images"


def _latency(latency: Latency) -> tuple[str, str]:
    ends = "" if latency.p95_high is None else f"{_number(latency.p95_low)} to {_number(latency.p95_high)}, "
    return _ms(latency.p95), f"{ends}p50 {_number(latency.p50)}, p99 {_number(latency.p99)}"


def _memory(memory: Memory) -> tuple[str, str]:
    return f"{memory.peak:.0f} MB", memory.kind.replace("_", " ")


def _mark(verdict: Verdict, figure: str) -> str:
    if verdict.verdict == "unmeasured":
        return ""
    return "✗" if any(over.figure == figure for over in verdict.over) else "✓"


def _torch_figures(row: Start | Seed) -> tuple[str, str]:
    return f"{row.agreement:.3f}", "" if row.accuracy is None else f"accuracy {row.accuracy:.3f}"


def _ms(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f} ms"


def _number(value: float | None) -> str:
    return MISSING if value is None else f"{value:.2f}"
