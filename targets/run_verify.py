"""`run.py verify`: every candidate measured on the check set, and a result of each."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from . import cool_down, flaws, lifeline, machine, result, runtimes, thread_trial
from .atomic import check_writable, write_json
from .error_lines import last_line
from .errors import TargetError
from .flaws import Flaw
from .length import AGAIN, Loop
from .manifest import Manifest, read_manifest
from .printable import say
from .run_options import bundle_of, identity_words, loop_for, milliseconds

INVALID = 4


def verify(options: argparse.Namespace) -> int:
    """Measure every candidate (each model under each runtime of the profile that works here) and write a result each.

    0 when at least one result is valid, 4 when none is.
    """
    manifest = read_manifest(bundle_of(options))
    candidates = runtimes.candidates(manifest, options.model, options.runtime)
    folder = options.out or manifest.place("results")
    if folder.exists() and not folder.is_dir():
        raise TargetError(f"{folder} is a file, and a result is written for every candidate", "Name a folder.")
    check_writable(folder, "Copy the bundle to where you may write, or name a folder with --out.")
    found = _measured(manifest, candidates, options)
    say(f"{found[0]['device']['name']}: {identity_words(machine.identify(manifest.profile))}")
    say()
    say(f"{'candidate':<26} {'p50':>9} {'p95':>9} {'p99':>9} {'memory':>9} {'queries':>9}")
    valid, lost = 0, list[TargetError]()
    for candidate, one in zip(candidates, found):
        one = _with_fresh(manifest, candidate, one, options)
        valid += "failed" not in one and not one["invalid"]
        _tell(candidate, one)
        try:
            write_json(folder / f"{candidate}.json", one)
        except TargetError as error:  # a stick that was pulled out: what was measured is still shown
            lost.append(error)
    if lost:
        raise lost[0]
    if not (options.model or options.runtime or options.out):
        result.remove_stale(folder, {str(candidate) for candidate in candidates})
    say()
    say(f"ms of one image a query, MB; written to {folder}")
    return 0 if valid else INVALID


def _measured(
    manifest: Manifest, candidates: list[runtimes.Candidate], options: argparse.Namespace
) -> list[dict[str, Any]]:
    """The results of the first run that counts, or of the last one.

    A run that does not count for the state of the machine is made again whole, so that candidates are still compared
    side by side.
    """
    loop, earlier = loop_for(manifest, options), list[dict[str, Any]]()
    for run in range(1, loop.runs + 1):
        found = result.measure_candidates(
            manifest, candidates, loop, options.threads, earlier=earlier, progress=_minutes(loop)
        )
        passing = [flaw for one in found for flaw in map(_flaw, one.get("invalid", ())) if flaw.may_pass]
        if not passing or run == loop.runs:
            break
        say(f"{AGAIN}: {'; '.join(dict.fromkeys(map(flaws.words, passing)))}", error=True)
        cool_down.wait(passing, manifest.profile["measure"]["hot_c"])
        earlier += found
    return [one if "failed" in one else {**one, "mode": loop.mode, "runs": run} for one in found]


def _minutes(loop: Loop) -> Callable[[int], object]:
    """Tells of each minute of a soak on stderr: it takes ten of a candidate, and nothing else would be said."""

    def told(rounds: int) -> None:
        seconds = loop.min_s * rounds / loop.turns
        if loop.mode == "soak" and seconds and seconds % 60 < loop.min_s / loop.turns:
            say(f"minute {seconds / 60:.0f} of {loop.min_s / 60:.0f}", error=True)

    return told


def _flaw(entry: dict[str, Any]) -> Flaw:
    return Flaw(**entry)


def _with_fresh(
    manifest: Manifest, candidate: runtimes.Candidate, found: dict[str, Any], options: argparse.Namespace
) -> dict[str, Any]:
    """The result with memory_mb and cold_start_ms, a flaw where the memory is not known; one that failed where the
    fresh process did. As it is where nothing is to be measured."""
    if "failed" in found or "memory_mb" in found:
        return found
    try:
        threads = found["runtime"]["threads"] if "threads_tried" in found["runtime"] else options.threads
        fresh = _of_fresh_process(manifest, candidate.precision, candidate.runtime, threads, options)
    except TargetError as error:
        return result.as_failed(found, error)
    unknown = [Flaw("memory-unknown").to_json()] if fresh["memory_mb"]["peak"] is None else []
    return {**found, **fresh, "invalid": found["invalid"] + unknown}


def _tell(candidate: runtimes.Candidate, one: dict[str, Any]) -> None:
    """A candidate's line, and below it why it does not count."""
    if "failed" in one:
        say(f"{candidate!s:<26} does not run: {one['failed']['wrong']}")
        return
    latency, peak = one["latency_ms"], one["memory_mb"]["peak"]
    numbers = " ".join(f"{milliseconds(latency[key]):>9}" for key in ("p50", "p95", "p99"))
    say(f"{candidate!s:<26} {numbers} {'-' if peak is None else peak:>9} {latency['queries']:>9}")
    if "cold_start_ms" in one:  # not where nothing is timed
        say(f"{'':<26} {_costs(one)}")
    if cores_in_use := one["runtime"].get("cores"):
        say(f"{'':<26} its threads stay on the fast cores {', '.join(map(str, cores_in_use))}")
    if told := thread_trial.words(one["runtime"]["threads"], one["runtime"].get("threads_tried")):
        say(f"{'':<26} {told}")
    for flaw in one["invalid"]:
        say(f"{'':<26} does not count: {flaws.words(_flaw(flaw))}")
    for warning in one["warnings"]:
        say(f"{'':<26} note: {flaws.words(_flaw(warning))}")


def _costs(one: dict[str, Any]) -> str:
    """What is reported beside the figures that decide: start, file to answer, energy."""
    cold, whole, energy, drift = (one[key] for key in ("cold_start_ms", "end_to_end_ms", "energy", "drift"))
    words = [f"cold start {cold['load']:.0f} ms, first query {cold['first']:.1f} ms"]
    words.append(f"p50 of its first turns {drift['first_p50']:.3f} ms, of its last {drift['last_p50']:.3f} ms")
    if whole is not None:
        words.append(f"from file to answer {whole['p50']:.2f} ms")
    if energy is not None:
        above = "" if energy["mj_above_idle"] is None else f", {energy['mj_above_idle']:.1f} above idle"
        idle = "" if energy["idle_w"] is None else f" ({energy['idle_w']:.1f} W idle)"
        words.append(f"{energy['mj']:.1f} mJ a query{above}{idle}")
    return "; ".join(words)


def _of_fresh_process(
    manifest: Manifest, precision: str, runtime: str, threads: int | None, options: argparse.Namespace
) -> dict[str, Any]:
    command = [sys.executable, *options.itself, "memory", "--bundle", str(manifest.path)]
    command += ["--model", precision, "--runtime", runtime, "--min-s", str(loop_for(manifest, options).min_s)]
    if threads is not None:
        command += ["--threads", str(threads)]
    done = lifeline.run(command)
    try:
        return json.loads(done.stdout)
    except ValueError as error:
        last = last_line(done.stderr)
        raise TargetError(
            f"the fresh process that measures memory ended with {done.returncode}: {last}",
            "Free some memory and run verify again.",
        ) from error
