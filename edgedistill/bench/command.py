"""`edgedistill bench`: from what was asked for to a table, a file and a picture."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..choices import MODES
from ..errors import InputError
from ..targets import emulation, machine, providers
from ..targets.errors import TargetError
from ..work import atomic
from . import plot, words
from .case import Case, cases
from .inputs import Given
from .model import find_models
from .side_by_side import LENGTHS, bench
from .single_stream import exit_code, single_stream
from .single_stream import show as show_streams


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    """The words of the command line. Empty: the default."""

    models: Sequence[Path]
    batches: Sequence[int] = ()
    threads: Sequence[int] = ()
    runtimes: Sequence[str] = ()
    input: Path | None = None
    shapes: Sequence[str] = ()
    mode: str = "full"
    mlperf_like: bool = False
    json: Path | None = None
    plot: Path | None = None


def run(options: BenchOptions) -> int:
    """Measure, print, and write the files asked for; the exit code. TF32 is off from here on (targets/providers.py).

    Raises InputError, before anything is measured where it can be known then.
    """
    _check(options)
    providers.turn_tf32_off()
    facts = machine.read_facts()
    try:
        emulation.refuse_to_time(facts.machine, facts.emulated_on)
        models = find_models(options.models)
        given = Given(options.input, dict(_shape(text) for text in options.shapes))
        wanted = cases(models, options.runtimes, options.threads, options.batches, given)
        if options.mlperf_like:
            return _single_stream(wanted, options)
        report = bench(wanted, LENGTHS[options.mode])
    except TargetError as error:
        raise InputError(error.wrong, error.todo) from error
    words.show(report)
    if options.json is not None:
        atomic.write_bytes(options.json, (json.dumps(report.to_json(), indent=1) + "\n").encode())
    if options.plot is not None:
        plot.write(report, options.plot)
    return report.exit_code


def _single_stream(wanted: Sequence[Case], options: BenchOptions) -> int:
    found = single_stream(wanted)
    show_streams(found)
    if options.json is not None:
        atomic.write_bytes(options.json, (json.dumps(found, indent=1) + "\n").encode())
    return exit_code(found)


def _check(options: BenchOptions) -> None:
    if options.mode not in MODES:
        raise InputError(f"--mode is {options.mode!r}", f"Use one of: {', '.join(MODES)}.")
    if options.mlperf_like and (options.plot is not None or options.batches):
        other = "--plot" if options.plot is not None else "--batch"
        raise InputError(f"--mlperf-like and {other} exclude each other", "A single stream is one item a query.")
    if any(batch < 1 for batch in options.batches):
        raise InputError(f"--batch is {min(options.batches)}", "A query has at least one item.")
    if any(count < 0 for count in options.threads):
        raise InputError(f"--threads is {min(options.threads)}", "Give 0 for the physical cores, or a number.")
    most = max(64, 4 * (os.cpu_count() or 1))
    if any(count > most for count in options.threads):
        raise InputError(f"--threads is {max(options.threads)}", f"This machine is asked for {most} at most.")
    for file in (options.json, options.plot):
        if file is not None and file.is_dir():
            raise InputError(f"{file} is a folder", "Name a file in it.")
        if file is not None and not file.absolute().parent.is_dir():
            raise InputError(f"there is no folder {file.parent} to write {file.name} to", "Name another, or make it.")
        if file is not None and not os.access(file.absolute().parent, os.W_OK | os.X_OK):
            raise InputError(f"{file.parent} is no folder that you may write {file.name} in", "Name another.")
    if options.plot is not None:
        plot.check(options.plot)


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    """ "image=1,3,224,224" -> ("image", (1, 3, 224, 224))."""
    name, _, axes = text.rpartition("=")
    if not name or not re.fullmatch(r"[1-9]\d*([,x][1-9]\d*)*", axes):
        raise InputError(f"--shape is {text!r}", "Write it as NAME=1,3,224,224.")
    return name, tuple(int(axis) for axis in re.split("[,x]", axes))
