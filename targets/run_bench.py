"""`run.py bench`: the latency of every model, side by side or as single streams."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import cores, early_stopping, flaws, load, machine, measure, result, runtimes
from .atomic import check_writable, write_json
from .cudart import Gpu
from .emulation import refuse_to_time
from .length import Loop
from .manifest import Manifest, read_manifest
from .names import on_gpu
from .printable import say
from .run_options import bundle_of, loop_for, milliseconds
from .run_verify import INVALID
from .runtimes import Candidate
from .watched import Subject, Watched, in_turns


def bench(options: argparse.Namespace) -> int:
    """Latency of every model, or of --model, on the check set, side by side: a table, and rows with --json.

    0, or 4 where one does not count.
    """
    facts = machine.read_facts()
    refuse_to_time(facts.machine, facts.emulated_on)
    manifest = read_manifest(bundle_of(options))
    runtime = runtimes.choose(manifest, options.runtime)
    asked = _Bench(
        manifest,
        runtime,
        precisions=[options.model] if options.model else runtimes.precisions(manifest),
        images=result.load_check_images(manifest),
        device=machine.device_name(facts, gpu=on_gpu(runtime)),
        gpu=facts.gpus[0] if on_gpu(runtime) and facts.gpus else None,
        threads=options.threads,
    )
    if options.json:
        check_writable(options.json.absolute().parent, "Name a file in a folder that you may write.")
    if options.mlperf_like:
        loop = early_stopping.LOOP if options.min_s is None else replace(early_stopping.LOOP, min_s=options.min_s)
        counts, rows = _single_streams(asked, loop)
    else:
        counts, rows = _side_by_side(asked, loop_for(manifest, options))
    if options.json:
        write_json(options.json, rows)
    return 0 if counts else INVALID


@dataclass(frozen=True)
class _Bench:
    """What `bench` times: models of a bundle, all under one runtime."""

    manifest: Manifest
    runtime: str
    precisions: Sequence[str]
    images: np.ndarray
    device: str
    gpu: Gpu | None
    threads: int | None

    def subject(self, precision: str, loop: Loop, closing: ExitStack) -> Subject:
        """One model with its session, which `closing` closes, in the threads asked for, or those that a trial finds."""
        candidate = Candidate(precision, self.runtime)
        session, _ = result.open_settled(self.manifest, candidate, self.images, self.threads, loop, closing)
        return Subject(session.run, [image[None] for image in self.images], self.gpu, session.describe().get("threads"))

    def counts(self, timed: Watched) -> bool:
        """Whether it does; below its line, why not."""
        room = load.room_on(len(cores.usable_cores()))
        found = timed.flaws(self.manifest.profile["measure"]["hot_c"], room)
        for flaw in found:
            say(f"{'':<8} does not count: {flaws.words(flaw)}")
        return not found

    def row(
        self, figure: str, value: float | None, low: float | None = None, high: float | None = None
    ) -> dict[str, Any]:
        """A row as benchmarks write them."""
        spread = {"figure": figure, "value": value, "low": low, "high": high, "unit": "ms", "bar": "", "met": None}
        return {**spread, "machine": self.device, "command": _command()}


def _side_by_side(asked: _Bench, loop: Loop) -> tuple[bool, list[dict[str, Any]]]:
    """All models timed in turns; whether all count, and their rows."""
    with ExitStack() as closing:
        timed = in_turns([asked.subject(one, loop, closing) for one in asked.precisions], loop)
    say(f"{asked.device}, {asked.runtime}, one image a query, ms")
    say()
    say(f"{'model':<8} {'p50':>9} {'p95':>9} {'p99':>9} {'min':>9} {'max':>9} {'queries':>9}")
    counts, rows = True, []
    for precision, own in zip(asked.precisions, timed):
        times = np.concatenate(own.turns)
        latency = measure.latency_summary(times)
        numbers = " ".join(f"{milliseconds(latency[key]):>9}" for key in ("p50", "p95", "p99", "min", "max"))
        say(f"{precision:<8} {numbers} {latency['queries']:>9}")
        counts &= asked.counts(own)
        quartiles = (round(float(end), 4) for end in np.percentile(times / 1e6, [25, 75]))
        rows.append(asked.row(f"{precision} on {asked.runtime}, p50", latency["p50"], *quartiles))
    return counts, rows


def _single_streams(asked: _Bench, loop: Loop) -> tuple[bool, list[dict[str, Any]]]:
    """The models one after the other, with MLPerf's estimate of the 90th percentile; else as `_side_by_side`."""
    say(f"{asked.device}, {asked.runtime}, single stream, ms; {early_stopping.SAID}")
    say()
    say(f"{'model':<8} {'p90 estimate':>13} {'p90 seen':>9} {'queries':>9} {'seconds':>9}")
    counts, rows = True, []
    for precision in asked.precisions:
        with ExitStack() as closing:
            (timed,) = in_turns([asked.subject(precision, loop, closing)], loop, untimed=0)
        found = early_stopping.summary(np.concatenate(timed.turns))
        shown = f"{milliseconds(found['estimate_ms']):>13} {milliseconds(found['observed_ms']):>9}"
        say(f"{precision:<8} {shown} {found['queries']:>9} {found['seconds']:>9}")
        counts &= asked.counts(timed)
        figure = f"{precision} on {asked.runtime}, early-stopping estimate of p90 ({early_stopping.SAID})"
        rows.append(asked.row(figure, found["estimate_ms"]))
    return counts, rows


def _command() -> str:
    return " ".join(["python", "run.py", *sys.argv[1:]])
