"""What every benchmark here shares: interleaved timing with its spread, a table, and rows for the docs.

A row is one figure: {figure, value, low, high, unit, bar, met, machine, command}. `value` is the median over rounds,
`low` and `high` are the quartiles. Comparisons are made inside one run, candidate after candidate in every round, and
given as the ratio of the two times of the same round, so that a busy minute of a shared machine falls on both sides.
"""

from __future__ import annotations

import gc
import json
import math
import os
import platform
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure. `bar` is written as it is judged: "<= 1.05", ">= 0.9", "0.95 .. 1.05"; "" promises nothing."""

    figure: str
    value: float
    low: float
    high: float
    unit: str
    bar: str = ""

    @property
    def met(self) -> bool | None:
        """Whether `value` keeps the bar; None without one."""
        if not self.bar:
            return None
        first, *between, last = self.bar.split()
        if between == [".."]:
            return float(first) <= self.value <= float(last)
        return {"<=": self.value <= float(last), ">=": self.value >= float(last)}[first]


def row(figure: str, samples: Sequence[float] | np.ndarray, unit: str, bar: str = "") -> Row:
    """The median and quartiles of `samples` as a row."""
    low, value, high = (float(q) for q in np.percentile(np.asarray(samples, np.float64), [25, 50, 75]))
    return Row(figure=figure, value=value, low=low, high=high, unit=unit, bar=bar)


def interleave(
    candidates: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    calls: int = 1,
    warm_up: int = 1,
    settle: int = 0,
    most_s: float = math.inf,
) -> dict[str, np.ndarray]:
    """Seconds per call of every candidate in every round, float64 [rounds].

    Each round runs `calls` calls of every candidate, in an order drawn anew (a fixed neighbour would leave the same
    one a cold cache each time); the collector is off while timing. `settle` calls of a candidate come before those that
    are timed, so that caches and sleeping threads are its own. `warm_up` rounds run before and are thrown away.
    On a slow machine there are fewer rounds, but 3 if so many were asked for: none starts after `most_s` seconds.
    """
    names = list(candidates)
    seconds = {name: np.zeros(rounds) for name in names}
    order = np.random.default_rng(0)
    collecting = gc.isenabled()
    gc.disable()
    began, done = perf_counter(), 0
    try:
        for turn in range(-warm_up, rounds):
            if turn >= 3 and perf_counter() - began > most_s:
                break
            for index in order.permutation(len(names)):
                name = names[index]
                call = candidates[name]
                for _ in range(settle):
                    call()
                start = perf_counter()
                for _ in range(calls):
                    call()
                if turn >= 0:
                    seconds[name][turn] = (perf_counter() - start) / calls
            done = turn + 1
    finally:
        if collecting:
            gc.enable()
    return {name: taken[:done] for name, taken in seconds.items()}


def machine() -> str:
    """This machine in a few words: processor, usable cores, memory, GPU if torch is loaded and sees one."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
        memory_gb = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (OSError, ValueError):
        memory_gb = 0.0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    words = [name, f"{cores} cores"] + ([f"{memory_gb:.0f} GB"] if memory_gb else [])
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        words.append(torch.cuda.get_device_name())
    return ", ".join(words)


def command() -> str:
    """The command line that is running, from the repository root, without the place of the interpreter."""
    script = Path(sys.argv[0]).resolve()
    root = Path(__file__).resolve().parents[1]
    shown = script.relative_to(root).as_posix() if script.is_relative_to(root) else script.name
    return shlex.join(["python", shown, *sys.argv[1:]])


def keep(found: list[dict[str, Any]], path: Path, group: Callable[[dict[str, Any]], str], order: Sequence[str]) -> None:
    """Put rows into the file in the place of the same groups' earlier ones; the groups stand in `order`."""
    replaced = set(map(group, found))
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    kept = [row for row in before if group(row) not in replaced] + found
    kept.sort(key=lambda row: order.index(group(row)) if group(row) in order else len(order))
    _write(path, kept)


def report(
    rows: Sequence[Row],
    json_path: Path | None,
    group: Callable[[dict[str, Any]], str] | None = None,
    order: Sequence[str] = (),
    measured_on: str = "",
) -> None:
    """Print the table on stdout; write the rows to `json_path` if given, with a `group` as `keep` does.

    measured_on: the machine, where the figures were taken before and on another one than this
    """
    where = measured_on or machine()
    print(f"{where}\n{command()}\n")
    width = max(len(r.figure) for r in rows)
    print(f"{'figure':<{width}}  {'value':>10}  {'quartiles':>21}  {'unit':<8}  {'bar':<12}  met")
    for r in rows:
        kept = {True: "yes", False: "NO", None: ""}[r.met]
        spread = f"{_number(r.low)} .. {_number(r.high)}"
        print(f"{r.figure:<{width}}  {_number(r.value):>10}  {spread:>21}  {r.unit:<8}  {r.bar:<12}  {kept}".rstrip())
    if json_path is not None:
        facts = {"machine": where, "command": command()}
        found = [{**asdict(r), "met": r.met, **facts} for r in rows]
        if group is None:
            _write(json_path, found)
        else:
            keep(found, json_path, group, order)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
