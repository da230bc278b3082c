"""Our figures beside those of another tool, where it is installed: one session each, in turns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from tiny_graphs import products, saved

from edgedistill.bench.case import Case, open_case
from edgedistill.bench.inputs import Given, feeds
from edgedistill.bench.rounds import latency_of
from edgedistill.targets import measure

PAIRS = 5  # two sessions of one model differ by some per cent, by where their memory lies


@pytest.mark.slow
def test_polygraphy_finds_the_same_latency_within_five_per_cent(tmp_path: Path) -> None:
    onnxrt = pytest.importorskip("polygraphy.backend.onnxrt")
    path = saved(tmp_path / "graph.onnx", products(200, 8))
    ratios = [ratio_of_one_pair(path, onnxrt) for _ in range(PAIRS)]
    assert np.median(ratios) == pytest.approx(1, abs=0.05)


def ratio_of_one_pair(path: Path, onnxrt: Any) -> float:
    """Our p50 over polygraphy's median, a session of one thread each, which take turns."""
    ours = open_case(Case("graph", path, "onnxruntime-cpu", 1, 1, Given()))
    queries = feeds(ours.inputs, 1, Given())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    theirs: list[float] = []
    with onnxrt.OnnxrtRunner(onnxruntime.InferenceSession(str(path), options)) as runner:

        def infer(feed: dict[str, np.ndarray]) -> None:
            # Its checks take longer than a small model, and leave cold caches to the run that it times.
            runner.infer(feed, check_inputs=False)
            theirs.append(runner.inference_time * 1e3)

        turns = measure.take_turns([(ours.run, queries), (infer, queries)], min_s=1.0, min_queries=400)
    ours.close()
    p50 = latency_of(turns[0]).p50
    assert p50 is not None
    return p50 / float(np.median(theirs))
