"""What `edgedistill bench` times, beside a stopwatch written by hand and beside polygraphy's, where it is installed.

    python benchmarks/bench.py [--model FILE.onnx] [--sets 15] [--json rows.json]

Each has a session of its own, of one thread, and they take turns. bench's p50 is of its own clock, and so are the
medians of the other two. Two sessions of one model differ by some per cent for as long as they live, by where their
memory lies: so there are several sets of them, made in an order drawn anew. Without --model it is a small
convolutional network of random weights.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import edgedistill.export  # noqa: F401  # first: it turns onnxruntime's telemetry off

# isort: split
import numpy as np
import onnx
import onnxruntime
from rows import report, row
from runtime_overhead import SIZE, network

from edgedistill.bench.case import Case, open_case
from edgedistill.bench.inputs import Feed, Given, feeds
from edgedistill.bench.rounds import latency_of
from edgedistill.bench.side_by_side import LENGTHS
from edgedistill.targets import measure

LOOP = LENGTHS["quick"].loop
BENCH, BY_HAND, POLYGRAPHY = "bench", "a stopwatch by hand", "polygraphy"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", type=Path, help="an ONNX file (default: a small one, made here)")
    parser.add_argument("--sets", type=int, default=15, help="of sessions")
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or Path(folder) / "network.onnx"
        if options.model is None:
            onnx.save(network(SIZE), path)
        order = np.random.default_rng(0)
        sets = [one_set(path.resolve(), order) for _ in range(options.sets)]
    ours = np.array([found[BENCH] for found in sets])
    others = [name for name in (BY_HAND, POLYGRAPHY) if name in sets[0]]
    ratios = {name: ours / np.array([found[name] for found in sets]) for name in others}
    compared = [row(f"bench / {name}", ratios[name], "ratio", "0.95 .. 1.05") for name in others]
    report([row("bench, p50", ours, "ms"), *compared], options.json)


def one_set(path: Path, order: np.random.Generator) -> dict[str, float]:
    """The median in ms that each finds of its own session."""
    opened = open_case(Case("model", path, "onnxruntime-cpu", 1, None, Given()))
    queries = feeds(opened.inputs, 1, Given())
    opened.close()
    makers: dict[str, Callable[[Path, list[float]], Callable[[Feed], object] | None]] = {
        BENCH: bench_run,
        BY_HAND: by_hand,
        POLYGRAPHY: polygraphy,
    }
    told: dict[str, list[float]] = {name: [] for name in makers}
    made = {name: makers[name](path, told[name]) for name in order.permutation(list(makers))}
    runs = {name: run for name, run in made.items() if run is not None}
    calls = [(run, queries) for run in runs.values()]
    turns = dict(zip(runs, measure.take_turns(calls, min_s=LOOP.min_s, min_queries=LOOP.min_queries)))
    p50 = latency_of(turns[BENCH]).p50
    assert p50 is not None
    return {BENCH: p50} | {name: float(np.median(told[name])) for name in runs if name != BENCH}


def bench_run(path: Path, told: list[float]) -> Callable[[Feed], object]:
    """What bench times, by the loop's own clock."""
    return open_case(Case("model", path, "onnxruntime-cpu", 1, None, Given())).run


def by_hand(path: Path, told: list[float]) -> Callable[[Feed], object]:
    """As anybody would write it."""
    session = raw_session(path)

    def run(feed: Feed) -> None:
        start = perf_counter()
        session.run(None, feed)
        told.append((perf_counter() - start) * 1e3)

    return run


def polygraphy(path: Path, told: list[float]) -> Callable[[Feed], object] | None:
    """Its runner, without the checks that take longer than a small model and leave it cold caches; None without it."""
    try:
        from polygraphy.backend.onnxrt import OnnxrtRunner
    except ImportError:
        return None
    runner = OnnxrtRunner(raw_session(path))
    runner.activate()

    def run(feed: Feed) -> None:
        runner.infer(feed, check_inputs=False)
        told.append(runner.inference_time * 1e3)

    return run


def raw_session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
