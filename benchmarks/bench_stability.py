"""Whether a measurement tells by itself that it cannot be believed: one measurement repeated, idle and under load.

    python benchmarks/bench_stability.py [--repeats 36] [--seconds 3] [--json rows.json]

A repeat is what `run.py verify` does with one candidate: a session of its own, the loop, every check of whether the
machine let it count, and up to three runs until one does. Repeats take turns between three states of the machine:
nothing else of ours runs; a busy program on half of the cores; one on every core. A repeat is off where its p50 lies
more than 5 % from the median of the idle repeats that are marked valid. Its p95 is told with an interval, and a budget
is held against the end of that: how often it ends below the valid idle repeats' median p95 stands beside it. The share
of idle repeats that are marked invalid is what this costs; on a machine that others use it is high, and rightly so.
What the checks saw in each state stands below, so that their limits can be judged. Twenty minutes with its defaults on
two cores.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import sleep
from typing import Any

import numpy as np
import onnx
from rows import Row, report, row
from runtime_overhead import SIZE, network

from edgedistill.targets.cores import usable_cores
from edgedistill.targets.flaws import Flaw
from edgedistill.targets.length import RUNS, Loop
from edgedistill.targets.manifest import Manifest, read_manifest
from edgedistill.targets.result import measure_candidates
from edgedistill.targets.runtimes import CPU, Candidate
from edgedistill.verdict.intervals import wilson

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from bundles import write_bundle  # the bundle of the tests, around a network of real size

OFF = 0.05
BUSY = [sys.executable, "-c", "while True: pass"]
SETTLE_S = 0.3  # until the busy programs are busy, and until they are gone
WARM_UP_S = 0.2
IDLE, HALF, EVERY = "idle", "half of the cores busy", "every core busy"
SEEN = ("others", "stolen", "waited")
UNITS = {"others": "cores", "stolen": "share", "waited": "share"}


@dataclass(frozen=True)
class Repeat:
    """One measurement: ms, what the machine said meanwhile (load.py), and the codes of what speaks against its last
    run. runs: how many were made."""

    state: str
    p50: float
    p95: float
    p95_high: float
    load: dict[str, float | None]
    against: tuple[str, ...]
    runs: int = 1

    @property
    def valid(self) -> bool:
        return not self.against


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--repeats", type=int, default=36, help="in each state of the machine")
    parser.add_argument("--seconds", type=float, default=3.0, help="of timing a repeat")
    parser.add_argument("--threads", type=int, help="of the session (default: the physical cores, at most 8)")
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = read_manifest(
            write_bundle(Path(folder) / "bundle", models={"fp32": with_the_golden_shapes(network(SIZE))})
        )
        loop = Loop(warmup_s=WARM_UP_S, min_s=options.seconds, min_queries=400)
        measured = [repeat(bundle, loop, state, options.threads) for state in [IDLE, HALF, EVERY] * options.repeats]
    report(rows_of(measured), options.json)
    for one in measured:
        load = ", ".join(f"{name} {one.load[name]}" for name in SEEN)
        said = " ".join(one.against) or "valid"
        print(f"{one.state:<24} p50 {one.p50:8.3f}  p95 {one.p95:8.3f}  {load}  {said}  runs {one.runs}")


def with_the_golden_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network with an embedding as wide as that of the bundle's golden set, so that answers can be compared."""
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = ["unit" if name == "embedding" else name for name in names]
    model.graph.node.append(onnx.helper.make_node("Identity", ["cosines"], ["embedding"]))
    (embedding,) = (output for output in model.graph.output if output.name == "embedding")
    embedding.type.tensor_type.shape.dim[1].dim_value = 3
    return model


def repeat(manifest: Manifest, loop: Loop, state: str, threads: int | None) -> Repeat:
    cores = len(usable_cores())
    with busy({IDLE: 0, HALF: max(1, cores // 2), EVERY: cores}[state]):
        runs: list[dict[str, Any]] = []
        while True:
            runs += measure_candidates(manifest, [Candidate("fp32", CPU)], loop, threads, earlier=runs)
            flaws = [Flaw(**flaw) for flaw in runs[-1]["invalid"]]
            against = tuple(flaw.code for flaw in flaws if flaw.may_pass)  # the network's answers are no golden ones
            if not against or len(runs) == RUNS:
                break
    latency = runs[-1]["latency_ms"]
    figures = [latency[name] for name in ("p50", "p95", "p95_high")]
    return Repeat(state, *figures, runs[-1]["load"] or dict.fromkeys(SEEN), against, len(runs))


@contextmanager
def busy(programs: int) -> Iterator[None]:
    """So many programs that never rest, beside what runs in the block."""
    started = [subprocess.Popen(BUSY) for _ in range(programs)]
    try:
        sleep(SETTLE_S)
        yield
    finally:
        for program in started:
            program.kill()
            program.wait()
        sleep(SETTLE_S)


def rows_of(measured: Sequence[Repeat]) -> list[Row]:
    """What the repeats say, with its bars; the figures of idle repeats first."""
    idle = [one for one in measured if one.state == IDLE and one.valid]
    rows = [
        row(f"idle and valid, {name}", [getattr(one, name) for one in idle], "ms") for name in ("p50", "p95") if idle
    ]
    off = [one for one in measured if is_off(one, idle)]
    wrongly = sum(one.valid for one in off)
    rows.append(
        Row(figure="off and marked valid", value=wrongly, low=wrongly, high=wrongly, unit="repeats", bar="<= 0")
    )
    if idle:
        middle = float(np.median([one.p95 for one in idle]))
        low = [one.p95_high < middle for one in measured if one.valid]
        rows.append(share("valid, and the end of p95's interval below the idle p95", low, ""))
    for state, bar in ((HALF, ">= 0.9"), (EVERY, ">= 0.9"), (IDLE, "")):
        rows.append(share(f"marked invalid, {state}", [not one.valid for one in measured if one.state == state], bar))
    for state in (IDLE, HALF, EVERY):
        own = [one for one in measured if one.state == state]
        rows.append(share(f"off, {state}", [one in off for one in own], ""))
        rows += [row(f"runs a repeat, {state}", [one.runs for one in own], "runs")] if own else []
        for name in SEEN:
            told = [one.load[name] for one in own if one.load[name] is not None]
            rows += [row(f"{name}, {state}", np.array(told, np.float64), UNITS[name])] if told else []
        for code in sorted({code for one in own for code in one.against}):
            rows.append(share(f"marked {code}, {state}", [code in one.against for one in own], ""))
    return rows


def is_off(one: Repeat, idle: Sequence[Repeat]) -> bool:
    """Whether its p50 lies more than 5 % from the median of the valid idle ones; every one does without."""
    return not idle or abs(one.p50 / float(np.median([other.p50 for other in idle])) - 1) > OFF


def share(figure: str, which: Sequence[bool], bar: str) -> Row:
    """The share of repeats with its Wilson interval."""
    low, high = wilson(sum(which), len(which))
    facts: dict[str, Any] = {"value": sum(which) / max(len(which), 1), "low": low, "high": high}
    return Row(figure=figure, **facts, unit="share", bar=bar)


if __name__ == "__main__":
    main()
