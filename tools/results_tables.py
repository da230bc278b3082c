"""Fill the tables of README.md and docs/results.md from the rows in benchmarks/results, and from nowhere else.

    python tools/results_tables.py            rewrite what stands between the markers
    python tools/results_tables.py --check    change nothing; exit 1 if a table is not what the rows say

A table stands between `<!-- table: NAME -->` and `<!-- end -->`, NAME being one of TABLES. Below it come the machine
and the commands, as the rows tell them. What has no rows yet is "Not measured yet.".
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo_card import cell, commands, machine, markdown, means, read, table

ROOT = Path(__file__).resolve().parents[1]
PAGES = (
    ROOT / "README.md",
    *(ROOT / "docs" / name for name in ("results.md", "bench.md", "measuring.md", "no-photos.md", "devices.md")),
)
RESULTS = ROOT / "benchmarks/results"
BETWEEN = re.compile(r"(?<=<!-- table: )(?P<name>[\w-]+)(?P<open> -->\n).*?(?=<!-- end -->)", re.S)
NOTHING = "Not measured yet."
NO_FIGURE = "–"

Row = dict[str, Any]
Rows = list[Row]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a table is out of date")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the rows")
    parser.add_argument("pages", type=Path, nargs="*", default=PAGES)
    options = parser.parse_args()
    stale = []
    for page in options.pages:
        old = page.read_text(encoding="utf-8")
        new = filled(old, options.results)
        if new != old:
            stale.append(page.name)
            if not options.check:
                page.write_text(new, encoding="utf-8")
    if options.check and stale:
        sys.exit(f"{', '.join(stale)}: not what {options.results.name}/ says. Run python tools/results_tables.py.")


def filled(page: str, results: Path) -> str:
    """`page` with every table made anew from the rows in `results`. Exits on a table that nobody makes."""

    def made(match: re.Match[str]) -> str:
        if match["name"] not in TABLES:
            sys.exit(f"no table is called {match['name']}: there are {', '.join(TABLES)}")
        return f"{match['name']}{match['open']}\n{TABLES[match['name']](results)}\n\n"

    return BETWEEN.sub(made, page)


def rows_of(results: Path, name: str) -> Rows:
    """The rows in `results`/NAME.json; [] while that file is not there."""
    path = results / f"{name}.json"
    return read(path if path.exists() else None)


def with_origin(text: str, rows: Rows) -> str:
    return f"{text}\n\nOn {machine(rows)}:\n\n    {commands(rows)}"


# ---- the demo --------------------------------------------------------------------------------------------------------


def demo(results: Path) -> str:
    """A column for each seed: how good, how fast, how long."""
    return _demo(results, short=False)


def demo_short(results: Path) -> str:
    return _demo(results, short=True)


def _demo(results: Path, *, short: bool) -> str:
    rows = rows_of(results, "demo")
    if not rows:
        return NOTHING
    seeds = _by_group(rows)
    said = [next(iter(figures.values()))["verdict"] for figures in seeds.values()]
    verdicts = ["verdict", *(f"**{verdict}**" for verdict in said)]
    columns = dict(seeds)
    if len(seeds) > 1:
        columns["mean (lowest .. highest)"] = _over(list(seeds.values()))
        verdicts.append(f"pass: {said.count('pass')} of {len(said)}")
    wanted: dict[str, tuple[str, Callable[[Row], str]]] = {
        "agreement with the teacher": ("student-agreement", cell),
        "the same before training": ("start-agreement", _share),
        "accuracy, teacher": ("teacher", _share),
        "accuracy, start (before training)": ("start", _share),
        "accuracy, student": ("student", _share),
        "student − teacher, points": ("difference", _points),
        "latency p95, ms": ("latency p95", _two_digits),
        "the whole of `make demo`, s": ("build", _whole),
    }
    if not short:
        wanted |= {
            "of that, training, s": ("training", _whole),
            "memory, MB": ("memory", _whole),
            "check pictures": ("check", _whole),
        }
    lines = [
        [title, *(_told(figures, figure, shown) for figures in columns.values())]
        for title, (figure, shown) in wanted.items()
    ]
    return with_origin(markdown(["", *columns], [verdicts, *lines]), rows)


def latency(results: Path) -> str:
    """A line for each of the demo's bundles: what one image costs on the machine that built it."""
    rows = rows_of(results, "demo")
    if not rows:
        return NOTHING
    columns: dict[str, Callable[[Row], str]] = {
        "latency p50": _two_digits,
        "latency p95": _two_digits,
        "latency p99": _two_digits,
        "memory": _whole,
        "model": _one_digit,
    }
    lines = [
        [f"demo, {seed}", *(shown(figures[figure]) for figure, shown in columns.items())]
        for seed, figures in _by_group(rows).items()
    ]
    head = ["one image, ONNX Runtime, fp32", "p50, ms", "p95, ms", "p99, ms", "memory, MB", "model, MB"]
    return with_origin(markdown(head, lines), rows)


# ---- photos ----------------------------------------------------------------------------------------------------------


def photos(results: Path) -> str:
    """A line for each set of real photos, over its seeds: teacher, start and student, as they are."""
    return _photos(results, interval=cell)


def photos_short(results: Path) -> str:
    return _photos(results, interval=_share)


def _photos(results: Path, *, interval: Callable[[Row], str]) -> str:
    rows = rows_of(results, "real_photos")
    if not rows:
        return NOTHING
    columns: dict[str, tuple[str, Callable[[Row], str]]] = {
        "teacher": ("teacher", interval),
        "start": ("start", interval),
        "student": ("student", cell),
        "student − teacher, points": ("difference", _points),
        "agreement": ("student-agreement", interval),
        "before training": ("start-agreement", interval),
        "pass": ("passed", _how_many),
    }
    lines = [
        [name, *(_told(figures, figure, shown) for figure, shown in columns.values())]
        for name, figures in _by_group(rows).items()
    ]
    return with_origin(markdown(["set", *columns], lines), rows)


def photos_seeds(results: Path) -> str:
    """A line for each build behind `photos`: what that seed came to, with intervals over the check photos."""
    rows = rows_of(results, "real_photos")
    if not rows:
        return NOTHING
    columns: dict[str, tuple[str, Callable[[Row], str]]] = {
        "student": ("student", cell),
        "student − teacher, points": ("difference", _points),
        "agreement": ("student-agreement", cell),
        "verdict": ("passed", lambda build: build["verdict"]),
        "build, s": ("seconds", _whole),
    }
    lines = []
    for name, figures in _by_group(rows).items():
        halves = f"{_whole(figures['trained'])} / {_whole(figures['check'])}"
        for seed in figures["student"]["seeds"]:
            own = {figure: row["seeds"][seed] for figure, row in figures.items() if seed in row["seeds"]}
            lines.append([name, halves, seed, *(_told(own, figure, shown) for figure, shown in columns.values())])
    return with_origin(markdown(["set", "trained / check", "seed", *columns], lines), rows)


def zero_shot(results: Path) -> str:
    """A line for each set, with what the teacher, the start and the baseline make of class names alone."""
    teacher, start, baseline = (rows_of(results, f"zero_shot_{who}") for who in ("teacher", "start", "baseline"))
    if not teacher:
        return NOTHING
    shown = table({"teacher": teacher, "start": start, "ConSE, MiniLM": baseline})
    return with_origin(f"{shown}\n\n{means(teacher, baseline)}", [*teacher, *start, *baseline])


def refined_teacher(results: Path) -> str:
    """A line for each set: the teacher by words and by refined class vectors, and what `--refine auto` looks at."""
    rows = rows_of(results, "refined_teacher")
    if not rows:
        return NOTHING
    columns = {
        "words": ("words", cell),
        "prototypes": ("prototypes", cell),
        "visual proxies": ("visual", cell),
        "steadiness, words": ("steadiness, words", _share),
        "steadiness, prototypes": ("steadiness, prototypes", _share),
        "auto refines": ("auto refines", lambda row: "yes" if row["value"] else "no"),
    }
    lines = [
        [name, *(_told(figures, figure, shown) for figure, shown in columns.values())]
        for name, figures in _by_group(rows).items()
    ]
    return with_origin(markdown(["set", *columns], lines), rows)


def refined_variants(results: Path) -> str:
    """A line for each form of the prototypes that was tried, a column for each set that all were tried on."""
    groups = _by_group(rows_of(results, "refined_teacher"))
    tried = {name: figures for name, figures in groups.items() if "prototypes, 2 steps" in figures}
    if not tried:
        return NOTHING
    forms = [figure for figure in next(iter(tried.values())) if figure.startswith("prototypes")]
    lines = [[form, *(cell(figures[form]) for figures in tried.values())] for form in forms]
    return markdown(["", *tried], lines)


def gentle_start(results: Path) -> str:
    """A line for each recipe, on the study renders."""
    rows = rows_of(results, "gentle_start")
    if not rows:
        return NOTHING
    return with_origin(markdown(["", "accuracy on study"], [[row["figure"], cell(row)] for row in rows]), rows)


def each_method(results: Path) -> str:
    """A line for each method: what the verdict of its one short build says, and how long that took."""
    rows = rows_of(results, "each_method")
    if not rows:
        return NOTHING
    methods: dict[str, dict[str, Row]] = {}
    for row in rows:
        name, _, figure = row["figure"].partition(" ")
        methods.setdefault(name, {})[figure] = row
    lines = [
        [
            f"`{name}`",
            cell(figures["accuracy"]),
            cell(figures["agreement"]),
            "pass" if figures["passed"]["value"] else "fail",
            _whole(figures["seconds"]),
        ]
        for name, figures in methods.items()
    ]
    return with_origin(markdown(["`--method`", "accuracy", "agreement", "verdict", "seconds"], lines), rows)


def budget(results: Path) -> str:
    """A line for each set in each cell of image-steps and views, beside the cell that all are compared with."""
    rows = rows_of(results, "budget")
    if not rows:
        return NOTHING
    columns = {
        "student": ("accuracy", cell),
        "gain over x1 with 8 views, points": ("gain", _points),
        "agreement": ("agreement", cell),
    }
    lines = []
    for name, figures in _by_group(rows).items():
        for steps, views in dict.fromkeys(tuple(figure.split()[:2]) for figure in figures):
            told = (_told(figures, f"{steps} {views} {figure}", shown) for figure, shown in columns.values())
            lines.append([name, steps, views.removeprefix("V"), *told])
    return with_origin(markdown(["set", "image-steps", "views", *columns], lines), rows)


def precision(results: Path) -> str:
    """A line for each student: the precision that its build chose, its time and its accuracy beside the others."""
    rows = rows_of(results, "precision")
    if not rows:
        return NOTHING
    columns: dict[str, tuple[str, Callable[[Row], str]]] = {
        "chosen, bits": ("bits", _whole),
        "fp32, ms": ("fp32", _two_digits),
        "chosen, ms": ("chosen", _two_digits),
        "chosen / fp32": ("chosen to fp32", _ratio),
        "chosen / default int8": ("chosen to default", _ratio),
        "int8 / fp32": ("int8 to fp32", _ratio),
        "accuracy, fp32": ("accuracy, fp32", _share),
        "points lost": ("accuracy lost", _points),
        "over default int8, at most": ("accuracy over default", _points),
        "bars met": ("", str),
    }
    lines = []
    for name, figures in _by_group(rows).items():
        told = [_told(figures, figure, shown) for figure, shown in columns.values()][:-1]
        missed = [figure for figure, row in figures.items() if row["met"] is False]
        lines.append([name, *told, "yes" if not missed else f"**no**: {', '.join(missed)}"])
    return with_origin(markdown(["student", *columns], lines), rows)


def data_free(results: Path) -> str:
    """A line for each way of prompts: what students of such images know of photos, beside start and plain prompts."""
    rows = rows_of(results, "data_free")
    if not rows:
        return NOTHING
    columns: dict[str, tuple[str, Callable[[Row], str]]] = {
        "top-1": ("accuracy", _share),
        "agreement": ("agreement", _share),
        "− start, points": ("less start", _points),
        "− plain, points": ("less plain", _points),
        "− photos alone, points": ("less photos", _points),
    }
    lines = [
        [arm, *(_told(figures, figure, shown) for figure, shown in columns.values())]
        for arm, figures in _by_group(rows).items()
    ]
    return with_origin(markdown(["learned from", *columns], lines), rows)


# ---- costs -----------------------------------------------------------------------------------------------------------


def benchmark(name: str) -> Callable[[Path], str]:
    """The table of what `rows.report` wrote to NAME.json, a line a figure."""

    def made(results: Path) -> str:
        rows = rows_of(results, name)
        if not rows:
            return NOTHING
        kept = {True: "yes", False: "**no**", None: ""}
        lines = [
            [row["figure"], _number(row["value"]), _spread(row), row["unit"], row["bar"], kept[row["met"]]]
            for row in rows
        ]
        return with_origin(markdown(["figure", "median", "quartiles", "unit", "bar", "met"], lines), rows)

    return made


def fuzz(results: Path) -> str:
    """A line a reader: what damaged files did to it."""
    rows = rows_of(results, "fuzz")
    if not rows:
        return NOTHING
    head = ["reader", "minutes (of a processor)", "damaged files read", "crashes", "hangs", "slowest", "memory", "met"]
    lines = [
        [
            row["figure"],
            f"{row['minutes']:g} ({row['processor_minutes']:.1f})",
            f"{row['value']:,}",
            str(row["crashes"]),
            str(row["hangs"]),
            f"{row['slowest_ms']:.0f} ms",
            f"{row['peak_mb']} MB",
            "yes" if row["met"] else "**no**",
        ]
        for row in rows
    ]
    return with_origin(markdown(head, lines), rows)


def faults(results: Path) -> str:
    """A line for each fault: what was done, what the command said, and whether the same command went on."""
    rows = rows_of(results, "faults")
    if not rows:
        return NOTHING
    columns = ["fault", "what was done", "what the command said", "went on", "manifest equal", "left over"]
    lines = []
    for row in rows:
        if row["skipped"]:
            lines.append([row["fault"], f"not run: {row['skipped']}", *[NO_FIGURE] * 4])
            continue
        counts = [f"{row[key]} of {row['tries']}" for key in ("went_on", "equal")]
        said = row["said"].replace("|", "\\|").replace("<", "&lt;") or NO_FIGURE
        lines.append([row["fault"], row["done"], said, *counts, f"{len(row['left']) or 'nothing'}"])
    return with_origin(markdown(columns, lines), rows)


def ssh_faults(results: Path) -> str:
    """A line for each error with a board by ssh: the fault, what is wrong, what to do about it."""
    rows = rows_of(results, "ssh_faults")
    if not rows:
        return NOTHING
    lines = []
    for row in rows:
        told = [f"not run: {row['skipped']}", NO_FIGURE] if row["skipped"] else [row["wrong"], row["todo"]]
        lines.append([cell.replace("|", "\\|").replace("<", "&lt;") for cell in (row["fault"], *told)])
    return with_origin(markdown(["fault", "what is wrong", "what to do"], lines), rows)


TABLES: dict[str, Callable[[Path], str]] = {
    "demo": demo,
    "demo-short": demo_short,
    "latency": latency,
    "photos": photos,
    "photos-short": photos_short,
    "photos-seeds": photos_seeds,
    "zero-shot": zero_shot,
    "refined-teacher": refined_teacher,
    "refined-variants": refined_variants,
    "gentle-start": gentle_start,
    "each-method": each_method,
    "budget": budget,
    "precision": precision,
    "data-free": data_free,
    "step-time": benchmark("step_time"),
    "targets": benchmark("targets"),
    "gpu": benchmark("gpu"),
    "runtime-overhead": benchmark("runtime_overhead"),
    "bench": benchmark("bench"),
    "stability": benchmark("bench_stability"),
    "fuzz": fuzz,
    "faults": faults,
    "ssh-faults": ssh_faults,
    "long-runs": benchmark("long_runs"),
    "teacher-engine": benchmark("teacher_engine"),
    "ssh-overhead": benchmark("ssh_overhead"),
    "aarch64": benchmark("aarch64"),
}


# ---- cells -----------------------------------------------------------------------------------------------------------


def _by_group(rows: Rows) -> dict[str, dict[str, Row]]:
    """Rows by the two halves of their names: "seed 0/agreement" is found under "seed 0", "agreement"."""
    groups: dict[str, dict[str, Row]] = {}
    for row in rows:
        group, _, figure = row["figure"].partition("/")
        groups.setdefault(group, {})[figure] = row
    return groups


def _share(row: Row) -> str:
    return f"{row['value']:.3f}"


def _over(groups: list[dict[str, Row]]) -> dict[str, Row]:
    """Of the figures that all groups have: the mean, the lowest and the highest value."""
    found = {}
    for name in groups[0]:
        if all(name in group for group in groups):
            values = [group[name]["value"] for group in groups]
            found[name] = {"value": sum(values) / len(values), "low": min(values), "high": max(values)}
    return found


def _told(figures: dict[str, Row], name: str, shown: Callable[[Row], str]) -> str:
    return shown(figures[name]) if name in figures else NO_FIGURE


def _points(row: Row) -> str:
    value, low, high = (f"{round(row[key], 1) + 0:+.1f}" for key in ("value", "low", "high"))  # + 0: no "-0.0"
    return f"{value} ({low} .. {high})".replace("-", "−")


def _how_many(row: Row) -> str:
    return f"{sum(seed['value'] for seed in row['seeds'].values()):.0f} of {len(row['seeds'])}"


def _one_digit(row: Row) -> str:
    return f"{row['value']:.1f}"


def _two_digits(row: Row) -> str:
    return f"{row['value']:.2f}"


def _ratio(row: Row) -> str:
    return f"{row['value']:.2f} ({row['low']:.2f} .. {row['high']:.2f})"


def _whole(row: Row) -> str:
    return f"{row['value']:,.0f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _spread(row: Row) -> str:
    return f"{_number(row['low'])} .. {_number(row['high'])}"


if __name__ == "__main__":
    main()
