"""Each case alone, its next query as soon as the last one is answered, and MLPerf's estimate of the 90th percentile.

It is no MLPerf result (targets/early_stopping.py): the loop and the estimate are theirs, and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np

from ..errors import EdgeDistillError, InputError
from ..targets import early_stopping, flaws, machine, result
from ..targets.errors import TargetError
from ..targets.flaws import Flaw
from ..targets.length import Loop
from ..targets.printable import say
from ..targets.watched import in_turns
from .case import Case
from .ready import hot_c_of, made_ready
from .words import ms

log = logging.getLogger(__name__)

HEAD = ("p90 estimate", "p90 seen", "queries", "seconds")


def single_stream(cases: Sequence[Case], loop: Loop = early_stopping.LOOP) -> dict[str, Any]:
    """A row for each case, in their order, as JSON: `failed`, or what `early_stopping.summary` says with `invalid`, the
    flaws for which it does not count (targets/flaws.py).

    Raises InputError where no case runs, with the first one's reason.
    """
    log.info("%d x %.0f s, one after the other", len(cases), loop.min_s)
    facts = machine.read_facts()
    hot_c = hot_c_of(facts)
    rows = [_row(case, facts, loop, hot_c) for case in cases]
    if all(row["failed"] is not None for row in rows):
        raise InputError(f"{cases[0].model}: {rows[0]['failed']}", "A single stream asks for one item a query.")
    device = machine.device_name(facts, gpu=any(case.on_gpu for case in cases))
    return {"said": early_stopping.SAID, "device": device, "versions": result.versions(), "rows": rows}


def exit_code(found: dict[str, Any]) -> int:
    """0 when every row counts, 4 when one does not."""
    return 4 if any(row["failed"] is not None or row["invalid"] for row in found["rows"]) else 0


def _row(case: Case, facts: machine.Facts, loop: Loop, hot_c: float) -> dict[str, Any]:
    row: dict[str, Any] = {"model": case.model, "runtime": {"name": case.runtime}, "failed": None, "invalid": []}
    try:
        with ExitStack() as closing:
            one = made_ready(replace(case, batch=1), facts, loop, closing)
            (timed,) = in_turns([one.subject()], loop, untimed=0)
            row |= {"runtime": one.opened.describe(), "invalid": [flaw.to_json() for flaw in one.flaws(timed, hot_c)]}
        return row | early_stopping.summary(np.concatenate(timed.turns))
    except (EdgeDistillError, TargetError) as error:
        return row | {"failed": error.wrong}


def show(found: dict[str, Any]) -> None:
    """Print the rows on stdout."""
    width = max(len(row["model"]) for row in found["rows"])
    say(f"{found['device']}, single stream, ms; {found['said']}")
    say()
    say(f"{'model':<{width}}  {'runtime':<18} " + " ".join(f"{name:>12}" for name in HEAD))
    for row in found["rows"]:
        start = f"{row['model']:<{width}}  {row['runtime']['name']:<18}"
        if row["failed"] is not None:
            say(f"{start} does not run: {row['failed']}")
            continue
        cells = (ms(row["estimate_ms"]), ms(row["observed_ms"]), row["queries"], row["seconds"])
        say(f"{start} " + " ".join(f"{cell:>12}" for cell in cells))
        for flaw in row["invalid"]:
            say(f"{'':<{width}}  does not count: {flaws.words(Flaw(**flaw))}")
