"""Whether an int8 graph is faster than its fp32 graph on this machine, by a short trial: if it is not, and this machine
is the board, nothing that is done about its accuracy can make it ship."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import product
from pathlib import Path

import numpy as np

from ..targets import measure, thread_trial
from ..targets.ort import Graph

SECONDS, QUERIES = 1.0, 40  # of each graph, for every number of threads
CLEARLY = 1.1  # times fp32's: a short trial on a busy machine is not exact, and the device measures again


def trial(int8: Path, fp32: Path, images: np.ndarray, threads: int) -> tuple[bool, str]:
    """(whether int8 may be faster, in words what was seen); one image at a time, in turns.

    images: uint8 [N,S,S,3]. threads: the profile's; 0: each graph is tried in 1, 2, 4 ... threads, as on the device
    (targets/thread_trial.py), and its fastest counts.
    """
    counts = [threads] if threads else thread_trial.choices()
    queries = [{"image": image[None]} for image in images[:16]]
    with ExitStack() as closing:
        graphs = [Graph(path, threads=count) for path, count in product((int8, fp32), counts)]
        for graph in graphs:
            closing.callback(graph.close)
        calls = [(graph.run, queries) for graph in graphs]
        turns = measure.take_turns(calls, min_s=SECONDS, min_queries=QUERIES)
    medians = np.array([np.median(np.concatenate(times)) for times in turns]).reshape(2, -1)
    own, other = (float(ms) for ms in medians.min(axis=1))
    return own <= CLEARLY * other, f"in a short trial int8 took {own / other:.2f} of fp32's time"
