"""`edgedistill bench` beside a loop written by hand, and beside polygraphy where it is installed.

    python benchmarks/bench.py [--model FILE.onnx] [--pairs 9] [--json rows.json]

Each measures the whole way it does, pair after pair, one thread: the p50 that bench reports, the median of a plain loop
over the same time, and the median of the times that polygraphy's runner took of itself. Without --model it is a small
convolutional network of random weights.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

import numpy as np
import onnx
import onnxruntime
from rows import Row, report, row
from runtime_overhead import SIZE, network

from edgedistill.bench.case import Case, open_case
from edgedistill.bench.inputs import Feed, Given, feeds
from edgedistill.bench.side_by_side import LENGTHS, bench

SECONDS = LENGTHS["quick"].loop.min_s


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--model", type=Path, help="an ONNX file (default: a small one, made here)")
    parser.add_argument("--pairs", type=int, default=9)
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = options.model or Path(folder) / "network.onnx"
        if options.model is None:
            onnx.save(network(SIZE), path)
        report(compared(path.resolve(), options.pairs), options.json)


def compared(path: Path, pairs: int) -> list[Row]:
    """bench's p50 in ms, and its ratio to each other way of the same pair."""
    ours: list[float] = []
    others: dict[str, list[float]] = {}
    for _ in range(pairs):
        ours.append(bench_p50(path))
        for name, median in (("a loop by hand", loop_median), ("polygraphy", polygraphy_median)):
            if (found := median(path)) is not None:
                others.setdefault(name, []).append(found)
    return [
        row("bench, p50", ours, "ms"),
        *(row(f"bench / {name}", np.divide(ours, found), "ratio", "0.95 .. 1.05") for name, found in others.items()),
    ]


def bench_p50(path: Path) -> float:
    (found,) = bench([Case("model", path, "onnxruntime-cpu", 1, None, Given())], LENGTHS["quick"]).rows
    assert found.latency_ms is not None
    assert found.latency_ms.p50 is not None
    return found.latency_ms.p50


def loop_median(path: Path) -> float:
    """ms, as anybody would write it."""
    session = raw_session(path)
    return timed(lambda feed: session.run(None, feed), queries_of(path))


def polygraphy_median(path: Path) -> float | None:
    """ms that polygraphy's runner took by its own clock; None where it is not installed."""
    try:
        from polygraphy.backend.onnxrt import OnnxrtRunner
    except ImportError:
        return None
    times: list[float] = []
    with OnnxrtRunner(raw_session(path)) as runner:

        def infer(feed: Feed) -> None:
            runner.infer(feed, check_inputs=False)
            times.append(runner.inference_time * 1e3)

        timed(infer, queries_of(path))
    return float(np.median(times))


def timed(run: Callable[[Feed], object], queries: list[Feed]) -> float:
    """The median in ms of calls that go on for SECONDS, after a few to warm up."""
    for feed in queries:
        run(feed)
    times: list[float] = []
    began = perf_counter()
    while perf_counter() - began < SECONDS:
        start = perf_counter()
        run(queries[len(times) % len(queries)])
        times.append((perf_counter() - start) * 1e3)
    return float(np.median(times))


def raw_session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def queries_of(path: Path) -> list[Feed]:
    """The queries that bench makes for the file."""
    opened = open_case(Case("model", path, "onnxruntime-cpu", 1, None, Given()))
    return feeds(opened.inputs, 1, Given())


if __name__ == "__main__":
    main()
