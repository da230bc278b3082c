"""All cases timed in turns, in one process and one state of the machine; then each in a fresh process of its own.

The loop, the percentiles, the machine's state and what makes a run not count are those of a verdict (targets/).
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import EdgeDistillError, InputError
from ..targets import cores, machine, measure, result
from ..targets.errors import TargetError
from ..targets.flaws import Flaw
from ..targets.length import SOAK_S, SOAK_TURNS, Loop
from ..targets.watched import Watched, in_turns
from .case import Case, Opened, open_case
from .fresh import measure_fresh
from .ready import Ready, hot_c_of, made_ready
from .report import ColdStart, Report, Row
from .rounds import compared, latency_of

log = logging.getLogger(__name__)

SERVE_S = 1.0  # of queries in the fresh process, after its first
FRESH_S = 2.0  # that such a process takes, about


@dataclass(frozen=True)
class Length:
    """How long a case is timed, and how many seconds at most: a slow one then says that its queries are too few."""

    mode: str
    loop: Loop
    most_s: float


LENGTHS = {
    "full": Length("full", Loop(warmup_s=0.5, min_s=10.0, min_queries=1000), 60.0),
    "soak": Length("soak", Loop(warmup_s=0.5, min_s=SOAK_S, min_queries=1000, mode="soak", turns=SOAK_TURNS), SOAK_S),
    "quick": Length("quick", Loop(warmup_s=0.2, min_s=1.0, min_queries=measure.LEAST_QUERIES), 10.0),
}


_Attempt = Ready | EdgeDistillError | TargetError


def bench(cases: Sequence[Case], length: Length, *, opens: Callable[[Case], Opened] = open_case) -> Report:
    """Every case measured; a row each, in their order. opens: another way to load a case.

    A case that does not run is a row that says so. Raises InputError where none does, with the first one's reason, and
    for a shape of an input that no model has.
    """
    facts = machine.read_facts()
    with ExitStack() as closing:
        attempts = [_attempt(case, facts, length, opens, closing) for case in cases]
        ready = [one for one in attempts if isinstance(one, Ready)]
        _check(cases, attempts, ready)
        _announce(len(ready), length)
        timed = in_turns([one.subject() for one in ready], length.loop, most_s=length.most_s)
        hot_c = hot_c_of(facts)
        rows = [_row(one, own, hot_c) for one, own in zip(ready, timed)]
    serve_s = min(SERVE_S, length.loop.min_s)
    measured = iter([_with_fresh(one, row, serve_s) for one, row in zip(ready, rows)])
    every = [_failed(case, one) if isinstance(one, Exception) else next(measured) for case, one in zip(cases, attempts)]
    meanwhile = timed[0].load
    return Report(
        device=_device(facts, gpu=any(case.on_gpu for case in cases)),
        mode=length.mode,
        rows=compared(every),
        cpus=len(cores.usable_cores()),
        other_cpus=None if meanwhile is None else round(meanwhile.others, 3),
        versions=result.versions(),
    )


def _attempt(
    case: Case, facts: machine.Facts, length: Length, opens: Callable[[Case], Opened], closing: ExitStack
) -> _Attempt:
    """The case made ready, or why that cannot be done."""
    try:
        return made_ready(case, facts, length.loop, closing, opens)
    except (EdgeDistillError, TargetError) as error:
        return error


def _announce(cases: int, length: Length) -> None:
    seconds = cases * (length.loop.warmup_s + length.loop.min_s + FRESH_S)
    log.info("timing %d %s side by side, %.0f s or more", cases, "row" if cases == 1 else "rows", seconds)


def _check(cases: Sequence[Case], attempts: Sequence[_Attempt], ready: Sequence[Ready]) -> None:
    """InputError where no case runs, and for a shape that is for none."""
    first = attempts[0]
    if not ready and isinstance(first, Exception):
        raise InputError(f"{cases[0].model}: {first.wrong}", first.todo) from first
    known = {one.name for each in ready for one in each.opened.inputs}
    for name in cases[0].given.shapes:
        if name not in known:
            raise InputError(f"--shape names the input {name}, which no model has", f"There are {', '.join(known)}.")


def _row(one: Ready, timed: Watched, hot_c: float) -> Row:
    """Its latency, the machine's states, and why it does not count."""
    latency, flaws = latency_of(timed.turns), one.flaws(timed, hot_c)
    if latency.p95 is None:
        flaws.append(Flaw("no-p95", value=latency.queries))
    return Row(
        model=one.case.model,
        file=str(one.case.file),
        runtime=one.opened.describe(),
        batch=one.batch,
        inputs=tuple(_described(name, array) for name, array in one.queries[0].items()),
        latency_ms=latency,
        items_per_s=round(one.batch / latency.mean * 1e3, 2),
        accuracy=one.case.accuracy,
        invalid=tuple(flaws),
        machine_state=timed.course.to_json(),
    )


def _with_fresh(one: Ready, row: Row, serve_s: float) -> Row:
    """The row with what a fresh process measured; as one that failed where that did."""
    try:
        fresh = measure_fresh(one.case, one.opened.inputs, serve_s)
    except InputError as error:
        return _failed(one.case, error)
    cold = ColdStart(load=fresh.load_ms, first=fresh.first_ms)
    return replace(row, cold_start_ms=cold, memory_mb=fresh.memory_mb)


def _failed(case: Case, error: EdgeDistillError | TargetError) -> Row:
    runtime = {"name": case.runtime, "threads": case.threads}
    return Row(model=case.model, file=str(case.file), runtime=runtime, batch=case.batch, failed=error.wrong)


def _described(name: str, array: np.ndarray) -> dict[str, Any]:
    return {"name": name, "dtype": str(array.dtype), "shape": list(array.shape)}


def _device(facts: machine.Facts, *, gpu: bool) -> dict[str, str]:
    system = f"{platform.system()} {platform.release()}"
    return {"name": machine.device_name(facts, gpu=gpu), "machine": facts.machine, "system": system}
