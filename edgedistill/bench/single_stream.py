"""Each case alone, its next query as soon as the last one is answered, and MLPerf's estimate of the 90th percentile.

It is no MLPerf result (targets/early_stopping.py): the loop and the estimate are theirs, and nothing else.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from ..errors import EdgeDistillError, InputError
from ..targets import early_stopping, machine, measure, result
from ..targets.errors import TargetError
from ..targets.printable import say
from ..targets.session import repeat
from .case import Case, open_case
from .inputs import batch_of, feeds
from .words import ms

log = logging.getLogger(__name__)

WARM_UP_S = 0.5
HEAD = ("p90 estimate", "p90 seen", "queries", "seconds")


def single_stream(cases: Sequence[Case], seconds: float = early_stopping.SECONDS) -> dict[str, Any]:
    """A row for each case, in their order, as JSON: `failed`, or what `early_stopping.summary` says.

    Raises InputError where no case runs, with the first one's reason.
    """
    log.info("%d x %.0f s, one after the other", len(cases), seconds)
    rows = [_row(case, seconds) for case in cases]
    if all(row["failed"] is not None for row in rows):
        raise InputError(f"{cases[0].model}: {rows[0]['failed']}", "A single stream asks for one item a query.")
    device = machine.device_name(gpu=any(case.on_gpu for case in cases))
    return {"said": early_stopping.SAID, "device": device, "versions": result.versions(), "rows": rows}


def _row(case: Case, seconds: float) -> dict[str, Any]:
    row: dict[str, Any] = {"model": case.model, "runtime": {"name": case.runtime}, "failed": None}
    try:
        opened = open_case(case)
        try:
            queries = feeds(opened.inputs, batch_of(opened.inputs, 1), case.given)
            repeat(lambda: opened.run(queries[0]), WARM_UP_S)
            calls = [(opened.run, queries)]
            turns = measure.take_turns(calls, min_s=seconds, min_queries=measure.LEAST_QUERIES, turns=1)
            return row | {"runtime": opened.describe()} | early_stopping.summary(turns[0][0])
        finally:
            opened.close()
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
