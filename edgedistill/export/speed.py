"""Whether an int8 graph is faster than its fp32 graph on this machine, by a short trial: if it is not, and this machine
is the board, nothing that is done about its accuracy can make it ship."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime

from ..targets import cores, measure
from ..targets.ort import model_source

SECONDS, QUERIES = 1.0, 40  # of each graph
CLEARLY = 1.1  # times fp32's: a short trial on a busy machine is not exact, and the device measures again


def trial(int8: Path, fp32: Path, images: np.ndarray, threads: int) -> tuple[bool, str]:
    """(whether int8 may be faster, in words what was seen); one image at a time, in turns. threads 0: the cores."""
    runs = [_run(path, threads or cores.physical_cores()) for path in (int8, fp32)]
    queries = [image[None] for image in images[:16]]
    turns = measure.take_turns([(run, queries) for run in runs], min_s=SECONDS, min_queries=QUERIES)
    own, other = (float(np.median(np.concatenate(times))) for times in turns)
    return own <= CLEARLY * other, f"in a short trial int8 took {own / other:.2f} of fp32's time"


def _run(path: Path, threads: int) -> Callable[[np.ndarray], object]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model_source(path), options, providers=["CPUExecutionProvider"])
    return lambda image: session.run(None, {"image": image})
