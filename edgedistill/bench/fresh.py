"""A case in a fresh process: how long its cold start takes, and how much memory serving it does.

    python -m edgedistill.bench.fresh CASE INPUTS SECONDS      one line of JSON (started by `measure_fresh`)

Cold is the process, not the disk: the file was read before. What is imported before stays out, of time and of memory;
so do the queries, which are made first, from the inputs that the parent read.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import Any

from ..errors import EdgeDistillError, InputError
from ..targets import lifeline, memory, runtimes
from ..targets.error_lines import last_line
from ..targets.errors import TargetError
from .case import Case, open_case
from .inputs import Input, batch_of, feeds


@dataclass(frozen=True)
class Fresh:
    """load_ms: from the file to a session; first_ms: its first query. memory_mb: `peak` (None: not known), `kind`."""

    load_ms: float
    first_ms: float
    memory_mb: dict[str, Any]


def measure_fresh(case: Case, inputs: Sequence[Input], serve_s: float) -> Fresh:
    """The case measured in a process of its own, which serves queries for `serve_s` seconds after the first.

    Raises InputError with its last line where it fails.
    """
    words = (case.to_words(), json.dumps([asdict(one) for one in inputs]), str(serve_s))
    command = [sys.executable, "-m", __name__, *words]
    ran = lifeline.run(command, folder=lifeline.AMONG_ITS_OWN)
    try:
        return Fresh(**json.loads(ran.stdout))
    except (ValueError, TypeError) as error:
        last = last_line(ran.stderr, f"exit code {ran.returncode}")
        raise InputError(f"the fresh process of {case.model} ended early: {last}", "Free some memory.") from error


def _measure(case: Case, inputs: Sequence[Input], serve_s: float) -> Fresh:
    queries = feeds(inputs, batch_of(inputs, case.batch), case.given)
    runtimes.problem(case.runtime)  # imports the runtime
    load_ms = first_ms = 0.0

    def serve() -> None:
        nonlocal load_ms, first_ms
        start = perf_counter()
        opened = open_case(case)
        loaded = perf_counter()
        opened.run(queries[0])
        first = perf_counter()
        load_ms, first_ms = (loaded - start) * 1e3, (first - loaded) * 1e3
        for query in itertools.cycle(queries):
            opened.run(query)
            if perf_counter() - first >= serve_s:
                break
        opened.close()

    taken = memory.taken_by(serve, on_gpu=case.on_gpu)
    return Fresh(round(load_ms, 3), round(first_ms, 3), taken)


def _main(case: str, inputs: str, serve_s: str) -> int:
    lifeline.end_with_parent()
    read = [Input(one["name"], one["dtype"], tuple(one["shape"])) for one in json.loads(inputs)]
    try:
        print(json.dumps(asdict(_measure(Case.from_words(case), read, float(serve_s)))))
    except (EdgeDistillError, TargetError) as error:
        print(error.wrong, file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
