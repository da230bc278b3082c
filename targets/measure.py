"""How fast: one query after the other, in the state the machine is in.

A query is host wall time from raw pixels in to outputs back: copies included, decoding not. Percentiles are order
statistics of all queries (nearest rank); one with fewer than 20 queries above it is not given. How sure p95 is,
`percentile.py` says.

Which machine this is is `machine.py`'s, the state it is in `state.py`'s; memory is `memory.py`'s.
"""

from __future__ import annotations

import gc
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter, perf_counter_ns
from typing import Any, Protocol

import numpy as np

from . import percentile
from .length import TURNS
from .session import Outputs

NEEDED_ABOVE = 20  # queries above a percentile before it is given
LEAST_QUERIES = 400  # so that p95 always has its 20
UNTIMED = 3  # queries at the beginning of a turn


class Session(Protocol):
    """What is measured (session.py)."""

    def run(self, images: np.ndarray) -> Outputs: ...


def take_turns(
    calls: Sequence[tuple[Callable[[Any], object], Sequence[Any]]],
    *,
    min_s: float,
    min_queries: int,
    most_s: float = math.inf,
    turns: int = TURNS,
    untimed: int = UNTIMED,
    between: Callable[[], object] = lambda: None,
) -> list[list[np.ndarray]]:
    """Nanoseconds of every query, int64 [n], of every turn of every call: [call][turn].

    calls: what is timed, each with its queries, which it gets again and again. They take turns and begin in another
    order every round, so that what the machine does meanwhile meets all of them alike. Each gets at least `min_s`
    seconds and `min_queries` queries (p95 needs LEAST_QUERIES). A turn begins with a few queries that do not count:
    what the call before left in caches and sleeping threads is not this one's latency. Garbage collection is off
    meanwhile: its pauses belong to this loop, not to the model. Nothing is warmed up here.
    most_s: of one call; it ends there after one query a turn, however few that makes. untimed: queries at the beginning
    of a turn. between: called after every round, for a look at the machine.
    """
    at_least = math.ceil(min_queries / turns)
    endless = [itertools.cycle(queries) for _, queries in calls]
    rounds: list[list[np.ndarray]] = [[] for _ in calls]
    collecting = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        for turn in range(turns):
            for place in range(len(calls)):
                index = (turn + place) % len(calls)
                own = _one_turn(calls[index][0], endless[index], min_s / turns, at_least, most_s / turns, untimed)
                rounds[index].append(np.array(own, np.int64))
            between()
    finally:
        if collecting:
            gc.enable()
    return rounds


def _one_turn(
    run: Callable[[Any], object], queries: Iterator[Any], seconds: float, at_least: int, most_s: float, untimed: int
) -> list[int]:
    """Nanoseconds of this turn's queries: at least so many seconds and queries, unless `most_s` are over."""
    clock = perf_counter_ns
    for query in itertools.islice(queries, untimed):
        run(query)
    times: list[int] = []
    record = times.append
    began = clock()
    deadline, latest = began + seconds * 1e9, began + most_s * 1e9
    for query in queries:
        start = clock()
        run(query)
        end = clock()
        record(end - start)
        if end >= deadline and (len(times) >= at_least or end >= latest):
            break
    return times


def latency_summary(nanoseconds: np.ndarray) -> dict[str, Any]:
    """p50, p95, p99, min, max, mean in ms, queries and batch; a percentile that is too thinly covered is None.

    nanoseconds: of every query [n], in the order of time. p95_low and p95_high are the 95 % interval of p95
    (percentile.py), None where it is.
    """
    ordered = np.sort(nanoseconds) / 1e6
    count = len(ordered)
    summary: dict[str, Any] = {}
    for percent in (50, 95, 99):
        rank = math.ceil(count * percent / 100)
        summary[f"p{percent}"] = round(float(ordered[rank - 1]), 4) if count - rank >= NEEDED_ABOVE else None
    ends = percentile.interval(nanoseconds / 1e6, 95) if summary["p95"] is not None else None
    for name, end in zip(("p95_low", "p95_high"), ends or (None, None)):
        summary[name] = None if end is None else round(end, 4)
    for name, value in (("min", ordered[0]), ("max", ordered[-1]), ("mean", ordered.mean())):
        summary[name] = round(float(value), 4)
    return {**summary, "queries": count, "batch": 1}


def predict_all(session: Session, images: np.ndarray) -> np.ndarray:
    """The most probable class of every image, int64 [M]; −1 where an output is not finite."""
    outputs = session.run(images)
    chosen = outputs.probabilities.argmax(axis=1).astype(np.int64)
    finite = np.isfinite(outputs.probabilities).all(axis=1) & np.isfinite(outputs.embedding).all(axis=1)
    chosen[~(finite & np.isfinite(outputs.known))] = -1
    return chosen


def under_load(work: Callable[[], object], probe: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What `probe` finds while `work` goes on: idle clocks and fallen temperatures would tell nothing."""
    with ThreadPoolExecutor(1) as pool:
        probing = pool.submit(probe)
        while not probing.done():
            work()
        return probing.result()


def serve(session: Session, images: np.ndarray, seconds: float) -> None:
    """Queries for `seconds`, at least one over every image."""
    start, first = perf_counter(), True
    while first or perf_counter() - start < seconds:
        for index in range(len(images)):
            session.run(images[index : index + 1])
        first = False
