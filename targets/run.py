"""The device's command line: look at the machine, compile, verify, bench, predict.

Inside a bundle: `python run.py verify` (the bundle's run.py is this file, beside targets/). From the workshop:
`python -m edgedistill.targets.run verify --bundle DIR`. Needs Python 3.10, numpy and one runtime; `predict` also
Pillow. Exit codes: 0 done and valid, 4 measured but invalid, 2 the input or the machine, 130
interrupted, 143 by SIGTERM.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter
from typing import Any, NoReturn

if sys.version_info < (3, 10):  # noqa: UP036  # before what JetPack 5's 3.8 cannot read
    sys.stderr.write(f"error: this is Python {platform.python_version()}, and the bundle needs 3.10 or later\n")
    sys.stderr.write("Flash JetPack 6 or later, or name another Python, such as: python3.10 run.py doctor\n")
    sys.exit(2)

if __name__ == "__main__" and not __package__:
    # Started as a file: a bundle's run.py lies beside targets/, the original inside it. Either way `targets` is the
    # package that the relative imports below mean (PEP 366).
    _here = Path(__file__).resolve().parent
    sys.path.insert(0, str(_here if (_here / "targets").is_dir() else _here.parent))
    __package__ = "targets"

import numpy as np

from . import (
    cool_down,
    cores,
    early_stopping,
    flaws,
    lifeline,
    load,
    machine,
    measure,
    memory,
    power,
    probe,
    providers,
    result,
    runtimes,
    state,
    stopping,
    streams,
    thread_trial,
    torch_trt,
    trtexec,
)  # fmt: skip
from .atomic import check_writable, write_json
from .cudart import Gpu
from .emulation import refuse_to_time
from .errors import TargetError, last_line
from .flaws import Flaw
from .length import AGAIN, HELP, MODES, Loop, loop_of
from .manifest import Manifest, read_manifest, selected_precision, selected_runtime
from .names import TENSORRT, TORCH_TENSORRT, on_gpu
from .printable import line, log_lines, say, say_json
from .runtimes import Candidate
from .watched import Subject, Watched, in_turns

INVALID = 4
THREADS = (
    "of a CPU runtime; 0: physical cores, at most 8 (default: the profile's; where it fixes none, verify finds out how "
    "many are worth it, and predict takes what the verdict was measured with)"
)
BENCH_HELP = (
    "quick: 1 s or more a model; full: as long as the profile says, 10 s or more; soak: 10 minutes a model. One run: "
    "below a line stands why it does not count, and the exit code is 4 then."
)
MEMORY_S = 2.0  # of queries in the fresh process whose memory is read


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code. Errors are two lines on stderr."""
    lifeline.end_with_parent()
    options = parser().parse_args(arguments)
    log_lines(logging.WARNING)
    try:
        return options.command(options)
    except TargetError as error:
        say(f"error: {error.wrong}", error=True)
        say(error.todo, error=True)
        return error.exit_code
    except MemoryError:
        say("error: the machine's memory is full", error=True)
        say("Close other programs, then run it again.", error=True)
        return TargetError.exit_code
    except KeyboardInterrupt:
        say("interrupted", error=True)
        return stopping.exit_code()


def doctor(options: argparse.Namespace) -> int:
    """What this machine is, which runtimes it has, and whether it is the board the bundle was built for."""
    facts = machine.read_facts()
    gpu = facts.gpus[0] if facts.gpus else None
    _say("machine", f"{machine.device_name(facts)}, {facts.machine}, {facts.memory_mb} MB memory")
    _say("python", f"{platform.python_version()}; a CPU session uses up to {_threads_words()}")
    if facts.gpus is None:
        _say("gpu", "the driver is there but refuses: check nvidia-smi, and that this user may use the GPU")
    else:
        words = f"{gpu.name}, compute capability {gpu.compute_capability}, {gpu.multiprocessors} SMs" if gpu else "none"
        _say("gpu", words)
    for name, error in probe.ask_all().items():
        _say(name, "usable" if error is None else f"not usable: {error.wrong}")
    if tool := trtexec.find():
        _say("trtexec", f"{tool}: compile takes it where TensorRT's Python module is missing")
    now = state.read_state(gpu=gpu, threads=cores.physical_cores())
    for key, value in now.items():
        _say(key.replace("_", " "), json.dumps(value))
    if rails := power.rails():
        made_of = power.counted(rails)
        told = f"energy from {' + '.join(made_of)}" if made_of else "no energy: which of these make up the module?"
        _say("power, W", f"{json.dumps(rails)}; {told}")
    watched = state.Course(now, (), now, gpu).watched()
    _say("throttling", f"told by {', '.join(watched)}" if watched else "unknown: nothing here would tell of it")
    folder = _bundle(options)
    if not (folder / "manifest.json").is_file():
        _say("bundle", f"none in {folder}: name one with --bundle DIR")
        return 0
    manifest = read_manifest(folder)
    profile = manifest.profile
    identity = machine.identify(profile, facts=facts)
    _say("bundle", f"{len(manifest.labels)} classes, {', '.join(manifest.precisions)}; every hash is right")
    _say("profile", f"{profile['name']} ({profile['title']}): {_identity_words(identity)}")
    try:
        runtime = runtimes.choose(manifest, None)
    except TargetError as error:
        _say("next", error.todo)
        return 0
    _say(
        "next", "python run.py compile, then python run.py verify" if runtime == "tensorrt" else "python run.py verify"
    )
    return 0


def compile_engines(options: argparse.Namespace) -> int:
    """Build the engine of every model, or of --model, unless one is there that fits this machine."""
    manifest = read_manifest(_bundle(options))
    profile = manifest.profile
    builders = [name for name in (TENSORRT, TORCH_TENSORRT) if name in profile["runtime"]["prefer"]]
    problem = runtimes.problem(TENSORRT)
    if not builders and problem is None:
        builders = [TENSORRT]
    if not builders:
        raise TargetError(
            f"there is nothing to compile: {profile['name']} runs on {profile['runtime']['prefer'][0]}",
            "Go on with: python run.py verify",
        )
    if TENSORRT in builders:
        tool = None if problem is None else trtexec.find()
        for precision in [options.model] if options.model else runtimes.precisions(manifest):
            if tool is None:
                say(runtimes.engine_of(manifest, precision, again=options.again))
            else:
                say(_built_by_tool(tool, manifest, precision, options))
        if tool is not None:
            say(f"built and timed by {tool}; {problem.todo if problem else ''}")
    if TORCH_TENSORRT in builders:
        for precision in [options.model] if options.model else torch_trt.PRECISIONS:
            say(torch_trt.program_of(manifest, precision, again=options.again))
    return 0


def _built_by_tool(tool: Path, manifest: Manifest, precision: str, options: argparse.Namespace) -> str:
    """Where only trtexec is there: an engine built by it, and its times in a line."""
    loop = _loop(manifest, options)
    run = trtexec.Run(
        onnx=manifest.file(manifest.model(precision)["file"]),
        size=manifest.size,
        free_batch=manifest.data["batch"]["max"] > 1,
        warmup_s=loop.warmup_s,
        seconds=loop.min_s,
        cuda_graph=bool(manifest.profile["runtime"].get("cuda_graph")),
    )
    engine = runtimes.engine_path(manifest, precision)
    limit = runtimes.free_mb(manifest)
    said = trtexec.compile(tool, run, engine, runtimes.engine_options(manifest), free_mb=limit, again=options.again)
    return f"{engine}  {trtexec.words(said)}"


def verify(options: argparse.Namespace) -> int:
    """Measure every candidate (each model under each runtime of the profile that works here) and write a result each.

    0 when at least one result is valid, 4 when none is.
    """
    manifest = read_manifest(_bundle(options))
    candidates = runtimes.candidates(manifest, options.model, options.runtime)
    folder = options.out or manifest.place("results")
    if folder.exists() and not folder.is_dir():
        raise TargetError(f"{folder} is a file, and a result is written for every candidate", "Name a folder.")
    check_writable(folder, "Copy the bundle to where you may write, or name a folder with --out.")
    found = _measured(manifest, candidates, options)
    say(f"{found[0]['device']['name']}: {_identity_words(machine.identify(manifest.profile))}")
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
    loop, earlier = _loop(manifest, options), list[dict[str, Any]]()
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
    numbers = " ".join(f"{_ms(latency[key]):>9}" for key in ("p50", "p95", "p99"))
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


def bench(options: argparse.Namespace) -> int:
    """Latency of every model, or of --model, on the check set, side by side: a table, and rows with --json.

    0, or 4 where one does not count.
    """
    facts = machine.read_facts()
    refuse_to_time(facts.machine, facts.emulated_on)
    manifest = read_manifest(_bundle(options))
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
        counts, rows = _side_by_side(asked, _loop(manifest, options))
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
        numbers = " ".join(f"{_ms(latency[key]):>9}" for key in ("p50", "p95", "p99", "min", "max"))
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
        shown = f"{_ms(found['estimate_ms']):>13} {_ms(found['observed_ms']):>9}"
        say(f"{precision:<8} {shown} {found['queries']:>9} {found['seconds']:>9}")
        counts &= asked.counts(timed)
        figure = f"{precision} on {asked.runtime}, early-stopping estimate of p90 ({early_stopping.SAID})"
        rows.append(asked.row(figure, found["estimate_ms"]))
    return counts, rows


def predict(options: argparse.Namespace) -> int:
    """Classify image files: a line an image, or with --json an object a line.

    One that cannot be read is named on stderr, with --json on stdout as well ({"path", "error"}), the others are
    classified, and the exit code is 2.
    """
    from .preprocess import BadImage, decode, read_file, to_pixels

    manifest = read_manifest(_bundle(options), check_hashes=False)
    precision = options.model or selected_precision(manifest)
    runtime = options.runtime or _measured_runtime(manifest)
    runtime = runtimes.choose(manifest, runtime)
    threads = options.threads
    if threads is None:
        threads = runtimes.measured_threads(manifest, precision, runtime)
    session = runtimes.open_session(manifest, precision, runtime, threads)
    exit_code = 0
    try:
        for path in options.images:
            if streams.unread(sys.stdout):
                break
            try:
                pixels = to_pixels(decode(read_file(path)), manifest.size)
            except BadImage as error:
                exit_code = TargetError.exit_code
                say(f"error: {path}: {error}", error=True)
                say("Name a readable photo, such as a JPEG or PNG.", error=True)
                if options.json:
                    say_json({"path": str(path), "error": f"{path}: {error}"})
                continue
            except ImportError as error:
                raise TargetError(f"Pillow cannot be imported: {error}", "pip install pillow") from error
            outputs = session.run(pixels[None])
            probabilities = outputs.probabilities[0]
            best = int(probabilities.argmax())
            label, probability = manifest.labels[best], float(probabilities[best])
            if options.json:
                known = {"known": float(outputs.known[0])}
                every = {"probabilities": dict(zip(manifest.labels, map(float, probabilities)))}
                say_json({"path": str(path), "label": label, "probability": probability, **known, **every})
            else:
                say(f"{path}  {label}  {probability:.3f}")
    finally:
        session.close()
    return exit_code


def _measured_runtime(manifest: Manifest) -> str | None:
    """The runtime that the verdict selected, where it works here."""
    name = selected_runtime(manifest)
    return name if name in runtimes.RUNTIMES and runtimes.problem(name) is None else None


def memory_of_serving(options: argparse.Namespace) -> int:
    """How much memory serving takes, and how long its start, as JSON; `verify` starts this in a fresh process, and it
    is not listed."""
    manifest = read_manifest(_bundle(options), check_hashes=False)
    images = result.load_check_images(manifest)
    runtime = options.runtime
    if error := runtimes.problem(runtime):  # imports the runtime: that belongs to the process, not to serving
        raise error

    cold: dict[str, float] = {}

    def serve() -> None:
        start = perf_counter()
        session = runtimes.open_session(manifest, options.model, runtime, options.threads)
        loaded = perf_counter()
        session.run(images[:1])
        cold.update(load=round((loaded - start) * 1e3, 3), first=round((perf_counter() - loaded) * 1e3, 3))
        measure.serve(session, images, min(MEMORY_S, _loop(manifest, options).min_s))

    say_json({"memory_mb": memory.taken_by(serve, on_gpu=on_gpu(runtime)), "cold_start_ms": cold})
    return 0


def _of_fresh_process(
    manifest: Manifest, precision: str, runtime: str, threads: int | None, options: argparse.Namespace
) -> dict[str, Any]:
    itself = ["-m", __name__] if __name__ != "__main__" else ["-m", __spec__.name] if __spec__ else [__file__]
    command = [sys.executable, *itself, "memory", "--bundle", str(manifest.path)]
    command += ["--model", precision, "--runtime", runtime, "--min-s", str(_loop(manifest, options).min_s)]
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


def _bundle(options: argparse.Namespace) -> Path:
    """--bundle, else the folder this file stands in, or above it when that is where the manifest is."""
    if options.bundle is not None:
        return options.bundle
    here = Path(__file__).resolve().parent
    return here if (here / "manifest.json").is_file() else here.parent


def _loop(manifest: Manifest, options: argparse.Namespace) -> Loop:
    """How long to measure: what the mode makes of the profile's lengths, or what tests ask for."""
    loop = loop_of(manifest.profile["measure"], options.mode)
    given = {"warmup_s": options.warmup_s, "min_s": options.min_s, "min_queries": options.min_queries}
    return replace(loop, **{key: value for key, value in given.items() if value is not None})


def _identity_words(identity: machine.Identity) -> str:
    if emulated := identity.evidence.get("emulated_on"):
        return f"no board, {emulated['found']} emulates its processor: outputs can be checked here, nothing is timed"
    if identity.status == machine.MATCH:
        return "this is that board"
    if identity.status == machine.UNREADABLE:
        return (
            "cannot tell, the device tree or the GPU cannot be read; in Docker, add "
            "-v /sys/firmware:/psys/firmware:ro, or run on the host"
        )
    wrong = [f"{key} is {check['found']!r}" for key, check in identity.evidence.items() if _failed(check)]
    return f"another machine ({'; '.join(wrong)})"


def _threads_words() -> str:
    """How many threads at most where none are fixed, and where they stay on a machine whose cores are not all alike."""
    threads = cores.physical_cores()
    where = cores.placement(threads)
    on = f" on its fast cores {', '.join(map(str, where))}" if where else ""
    return f"{threads} threads{on}"


def _failed(check: Any) -> bool:
    return isinstance(check, dict) and check.get("ok") is False


def _say(what: str, found: str) -> None:
    say(f"{what:<20} {found}")


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _command() -> str:
    return " ".join(["python", "run.py", *sys.argv[1:]])


class _Parser(argparse.ArgumentParser):
    """argparse, with errors in our two lines."""

    def error(self, message: str) -> NoReturn:
        self.exit(TargetError.exit_code, f"error: {line(message)}\nSee: {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="run.py",
        description="Measure and use this bundle's classifier on the machine you are on.",
        epilog="Start with `doctor`; it ends with what to run next. Exit codes: 0 done and valid, 4 measured but "
        "invalid (too hot, throttled, wrong outputs), 2 wrong input or machine.",
    )
    parser.add_argument("--bundle", type=_path, metavar="DIR", help="the bundle (default: where this file is)")
    # Accepted after the command as well; suppressed as default, or it would hide one given before.
    bundle: dict[str, Any] = {"type": _path, "metavar": "DIR", "default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Any, help: str | None) -> argparse.ArgumentParser:
        shown: dict[str, Any] = {} if help is None else {"help": help}  # a command without help is not listed
        added = commands.add_parser(name, description=run.__doc__, **shown)
        added.set_defaults(command=run, mode=MODES[0], warmup_s=None, min_s=None, min_queries=None)
        added.add_argument("--bundle", **bundle)
        return added

    def choices(added: argparse.ArgumentParser, several: bool = False) -> None:
        words = "only this one; repeatable" if several else "fp32, fp16 ..."
        action = "append" if several else "store"
        added.add_argument("--model", metavar="PRECISION", help=words, action=action)
        words = f"{', '.join(runtimes.RUNTIMES)} (default: the profile's{'; repeatable' if several else ''})"
        added.add_argument("--runtime", metavar="NAME", help=words, action=action)
        added.add_argument("--threads", type=_count, metavar="N", help=THREADS)

    def lengths(added: argparse.ArgumentParser, words: str = HELP) -> None:
        added.add_argument("--mode", choices=MODES, default=MODES[0], help=words.replace("%", "%%"))
        for name, kind in (("--warmup-s", float), ("--min-s", float), ("--min-queries", int)):
            added.add_argument(name, type=kind, help=argparse.SUPPRESS)

    command("doctor", doctor, "say what this machine is and has, and what to run next")

    added = command("compile", compile_engines, "build TensorRT engines for this very machine")
    added.add_argument("--model", metavar="PRECISION", help="only this one")
    added.add_argument("--again", action="store_true", help="build even where an engine fits")

    added = command("verify", verify, "measure every candidate on the check set and write a result each")
    choices(added, several=True)
    lengths(added)
    added.add_argument("--out", type=_path, metavar="DIR", help="default: results/, a file a candidate")

    added = command("bench", bench, "latency of every model, side by side")
    choices(added)
    lengths(added, BENCH_HELP)
    words = "10 minutes of each model alone, and the 90th percentile as MLPerf estimates it; not an MLPerf result"
    added.add_argument("--mlperf-like", action="store_true", help=words)
    added.add_argument("--json", type=_path, metavar="FILE", help="write the rows there")

    added = command("predict", predict, "classify image files (needs Pillow)")
    added.add_argument("images", nargs="+", type=_path, metavar="IMAGE")
    choices(added)
    added.add_argument("--json", action="store_true", help="one JSON object a line")

    added = command("memory", memory_of_serving, None)
    choices(added)
    lengths(added)
    return parser


def _path(text: str) -> Path:
    """With the home folder for a ~ that no shell replaced, as in --out=~/results."""
    return Path(os.path.expanduser(text))


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("it cannot be negative")
    return number


if __name__ == "__main__":
    # A program of its own: neither a character that cannot be encoded nor a reader who went away ends it, Pillow's
    # warnings stay out, and float32 is float32.
    streams.settle()
    warnings.filterwarnings("ignore", module=r"PIL\.")
    providers.turn_tf32_off()
    stopping.stop_as_ctrl_c_does()
    sys.exit(main())
