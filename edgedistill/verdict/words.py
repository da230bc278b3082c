"""What closes a build on the terminal: the verdict as tables, a sentence, and, when not measured, what to run where.

Reads the verdict's data and decides nothing.
"""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..export.int8_facts import Int8Facts
from ..targets import flaws, thread_trial
from ..targets.printable import say_json
from ..work.console import Terminal
from .verdict import (
    LEAST_IMAGES,
    AgainstFp32,
    Agreement,
    Board,
    Candidate,
    Costs,
    KeptBack,
    Latency,
    Machine,
    Memory,
    Obstacle,
    Over,
    Reason,
    Runtime,
    Seed,
    Start,
    Verdict,
)

COLOUR = {"pass": "green", "fail": "red", "unmeasured": "yellow"}
MISSING = "–"
SYNTHETIC = "synthetic images"  # as images/gather.py names them
THROTTLING = {"none": "not throttled", "seen": "throttled", "unknown": "throttling unknown"}
WHY: dict[Reason, str] = {
    "not-reached": "it was not measured on the board",
    "wrong-board": "it was measured on another board",
    "emulated": "it was measured on an emulated processor",
    "unrecognised": "the machine could not be recognised (its device tree or GPU is unreadable, as in a container)",
    "unstable": "the measurement was not sound",
    "too-few-images": f"fewer than {LEAST_IMAGES} check images",
}

KEPT_BACK: dict[KeptBack, str] = {
    "not-faster": "not faster than fp32",
    "less-accurate": "less accurate than fp32",
    "not-compared": "fp32's run does not count",
    "not-asked": "not asked for",
}
CALIBRATION = {
    "minmax": "all values",
    "percentile": "all but the outermost values",
    "entropy": "least lost information",
}


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
    for line in (*notes(verdict), *verdict.next):
        console.print(f"  {line}", markup=False, soft_wrap=wrap)
    console.print(f"Bundle: {folder}", markup=False, soft_wrap=wrap)


def _table(columns: tuple[str, ...], lines: list[tuple[str, ...]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, no_wrap=number == 0)
    for line in lines:
        table.add_row(*(Text(cell) for cell in line))
    return table


# ---- sentences -------------------------------------------------------------------------------------------------------


def sentence(verdict: Verdict) -> str:
    """The verdict in one sentence that needs no glossary."""
    where = f"{verdict.device.name} ({_state(verdict.device, verdict.board)})" if verdict.device else "no machine"
    agreement = verdict.agreement
    same = (
        f"chooses what its teacher chooses on {_percent(agreement)} of {agreement.images} images" if agreement else ""
    )
    if verdict.verdict == "fail":
        said = "; ".join(over_words(over, verdict) for over in verdict.over)
        outside = "may be" if all(over.unsure for over in verdict.over) else "is"
        return f"On {where} the {verdict.selected} model {outside} outside its budget: {said}."
    if verdict.verdict == "pass" and verdict.latency_ms and verdict.memory_mb:
        return (
            f"On {where} the {verdict.selected} model {same}, answers within {verdict.latency_ms.p95:.1f} ms "
            f"(95 of 100 times) and takes {verdict.memory_mb.peak:.0f} MB: inside every budget."
        )
    why = " and ".join(WHY[reason] for reason in verdict.reasons)
    so_far = f" Measured on {where}, it {same}." if same else ""
    return f"Everything is built, but {verdict.profile} has no verdict yet: {why}.{so_far}"


def _state(machine: Machine, board: Board) -> str:
    """The power mode, by name, and the cooling state that a machine was measured in."""
    found = []
    if machine.power_mode:
        shipped = machine.shipped_mode or board.power_mode
        changed = machine.matches_profile and shipped not in (None, machine.power_mode)
        found.append(f"power mode {machine.power_mode}{f', not {shipped} as shipped' if changed else ''}")
    elif machine.matches_profile and board.has_power_modes:
        found.append("power mode unknown")
    if machine.power_mode and machine.gpu_max_mhz is not None:
        found.append(f"GPU up to {machine.gpu_max_mhz:.0f} MHz")
    if machine.temperature_c is not None:
        found.append(f"{machine.temperature_c:.0f} C")
    return "; ".join([*found, THROTTLING[machine.throttling]])


def over_words(over: Over, verdict: Verdict) -> str:
    """A budget that is exceeded, in words: which, and by how much."""
    value, low, limit = over.value, over.low, over.limit
    if value is None:
        return f"{over.figure}: no figure"
    if over.figure == "outputs":
        return f"outputs: not finite on {value:.0f} of {verdict.check.images} check images"
    if over.figure == "accuracy" and low is not None:
        return (
            f"accuracy: the student may be up to {-100 * low:.1f} points below its teacher, "
            f"{100 * (limit - low):.1f} more than the {-100 * limit:g} allowed"
        )
    if over.figure == "agreement" and low is not None:
        unsure = "unsure, " if over.unsure else ""
        return (
            f"agreement: {unsure}{value:.3f} on {verdict.check.images} images can be as low as {low:.3f}, "
            f"{limit - low:.3f} under the {limit:g} asked for"
        )
    if over.figure == "precision":
        if low is None:
            return f"precision: right on {-100 * value:.1f} points fewer images than fp32, {-100 * limit:g} are allowed"
        return (
            f"precision: it may be up to {-100 * low:.1f} points below fp32, "
            f"{100 * (limit - low):.1f} more than the {-100 * limit:g} allowed"
        )
    if over.figure == "latency" and over.high is not None:
        if over.unsure:
            return (
                f"latency: unsure, p95 is {value:.2f} ms and can be as high as {over.high:.2f}, "
                f"{over.high - limit:.2f} over the {limit:g} allowed"
            )
        return f"latency: p95 is {value:.2f} ms (up to {over.high:.2f}), {value - limit:.2f} over the {limit:g} allowed"
    what = "p95 is" if over.figure == "latency" else "the peak is"
    return f"{over.figure}: {what} {value:.2f} {over.unit}, {value - limit:.2f} over the {limit:g} allowed"


def obstacle_words(obstacle: Obstacle, candidate: Candidate, verdict: Verdict) -> str:
    """Why a candidate's measurement does not decide."""
    title, wanted = verdict.board.title, " or ".join(verdict.board.runtimes)
    if obstacle.reason == "emulated":
        return f"{candidate.device} is no board, and nothing was timed there"
    if obstacle.reason == "unrecognised":
        return f"{candidate.device} could not be recognised as {title}"
    if obstacle.reason == "unstable":
        said = "; ".join(flaws.words(flaw) for flaw in obstacle.flaws)
        run = "the run" if obstacle.runs == 1 else f"the last of {obstacle.runs} runs"
        return f"{run} of {_name(candidate)} on {candidate.device} does not count: {said}"
    return f"{candidate.device} with {candidate.runtime} is not what the profile is about: {title} with {wanted}"


def notes(verdict: Verdict) -> list[str]:
    """What a person should know beside the tables: why a run does not count, changed budgets, images not used."""
    changed = [f"{name} {value:g}" for name, value in verdict.budget.overrides.items()]
    skipped = {"photos": verdict.skipped.images, "check images": verdict.skipped.check}
    found = {
        obstacle_words(one.obstacle, one, verdict): None for one in verdict.precision_candidates if one.obstacle
    }  # each once, in order
    candidates = verdict.precision_candidates
    broken = [f"{_name(one)} does not run: {one.error}" for one in candidates if one.error]
    told = {
        f"{one.device}: {flaws.words(flaw)}": None
        for one in candidates
        if one.selected or verdict.verdict == "unmeasured"
        for flaw in one.warnings
    }
    missing = [f"{one.precision} is not built: {one.not_built}" for one in candidates if one.not_built]
    compared = [words for one in candidates if (words := comparison_words(one))]
    made = {int8_words(one.int8): None for one in candidates if one.int8}
    forced = [f"{verdict.forced} was asked for with --precision"] if verdict.forced else []
    threads = [words] if (words := threads_words(verdict.runtime)) else []
    return [
        *([synthetic_words(verdict)] if verdict.check.synthetic else []),
        *(f"{words}." for words in (*found, *broken, *missing, *compared, *made, *forced, *threads, *told)),
        *([f"Budgets changed for this build: {', '.join(changed)}."] if changed else []),
        *(
            f"Not used, {what}: {', '.join(f'{count} {reason}' for reason, count in counts.items())}."
            for what, counts in skipped.items()
            if counts
        ),
    ]


def comparison_words(one: Candidate) -> str:
    """How a lower precision compares with fp32 on its device, and what follows; "" where there is nothing to say."""
    if one.precision == "fp32" or one.runtime is None or one.error or (one.obstacle and one.against_fp32 is None):
        return ""
    if one.against_fp32 is None:
        return f"{_name(one)} was not compared with fp32, which was not measured there"
    figures = against_fp32_words(one.against_fp32)
    if one.kept_back:
        return f"{_name(one)} is not used, {' and '.join(KEPT_BACK[why] for why in one.kept_back)}: {figures}"
    return f"{_name(one)} beside fp32: {figures}"


def against_fp32_words(found: AgainstFp32) -> str:
    """Times, then images right, of a lower precision beside fp32."""
    speed = "no median" if found.p50 is None else f"its median is {found.p50:.2f} of fp32's"
    return (
        f"{speed}, right on {100 * found.difference:+.1f} points of {found.images} images "
        f"({100 * found.low:+.1f} to {100 * found.high:+.1f})"
    )


def threads_words(runtime: Runtime | None) -> str:
    """How many threads were found to be enough; "" where all cores were worth it, or nothing was tried."""
    return thread_trial.words(runtime.threads, runtime.threads_tried) if runtime else ""


def int8_words(made: Int8Facts) -> str:
    """How int8 was made."""
    floating = f"; in float: {', '.join(made.floating)}" if made.floating else ""
    trained = f"; {made.fine_tuned}" if made.fine_tuned else ""
    return (
        f"int8: ranges by {made.calibration} ({CALIBRATION[made.calibration]}) on {made.photos} photos of the pool, "
        f"same class as fp32 on {100 * made.agreement:.1f} % of {made.judged} others{floating}{trained}"
    )


def synthetic_words(verdict: Verdict) -> str:
    """What a verdict on images that were made from class names is worth."""
    only = " only" if verdict.check.source == SYNTHETIC else ""
    return (
        f"Checked on {verdict.check.source}{only}: how well the student does on photos is not known. Photos in --check "
        "measure it, and a few hundred unlabelled ones in --images teach better."
    )


# ---- tables ----------------------------------------------------------------------------------------------------------


def rows(verdict: Verdict) -> list[tuple[str, ...]]:
    """The first table: what, figure, its interval or its kind, the budget, a mark."""
    return [*_quality_rows(verdict), *_cost_rows(verdict)]


def candidate_rows(verdict: Verdict) -> list[tuple[str, ...]]:
    """The second table: every candidate with its figures, and why it is the one in use or is not."""
    several = len({one.device for one in verdict.precision_candidates if one.device}) > 1
    found: list[tuple[str, ...]] = []
    for one in verdict.precision_candidates:
        name = f"{_name(one)} on {one.device}" if several and one.device else _name(one)
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
    return [(*line, "reported only", "") for line in found]


def _name(candidate: Candidate) -> str:
    return f"{candidate.precision}, {candidate.runtime}" if candidate.runtime else candidate.precision


def _percent(agreement: Agreement) -> str:
    return f"{100 * agreement.value:.1f} %"


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
