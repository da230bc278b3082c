"""Measurements in, verdict out.

    pass        measured on the profile's device, inside every budget                        exit 0
    fail        measured there, outside at least one budget: which, and by how much          exit 3
    unmeasured  no measurement that may decide; `reasons` says why                           exit 4

`decide` is a pure function of the bundle and its results. A result decides only if it comes from the profile's device
and one of the profile's runtimes, and if the run was sound; what another machine measured is shown with that machine's
name. Nothing missing ever counts as met.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..bundle.checkset import CheckSet, read_check
from ..devices import local
from ..errors import InputError
from ..targets.errors import TargetError
from ..targets.manifest import Manifest, read_manifest
from ..work import atomic
from .intervals import paired_difference, wilson
from .results import NOT_FINITE, Result, read_result

SCHEMA = 1
EXIT_CODES = {"pass": 0, "fail": 3, "unmeasured": 4}
LEAST_IMAGES = 50
BOARD_RESULT = "results/board.json"
LABELLED_ENOUGH = 500  # from here on accuracy decides: a student better than its teacher must disagree with it

# Why a verdict is unmeasured, in the order they are named.
REASONS = {
    "not-reached": "it was not measured on the board",
    "wrong-board": "it was measured on another board",
    "unrecognised": "the machine could not be recognised (its device tree or GPU is unreadable, as in a container)",
    "unstable": "the measurement was not sound",
    "too-few-images": f"fewer than {LEAST_IMAGES} check images",
}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """verdict.json, field by field. For `fail`, `reasons` are sentences that begin with the figure they are about."""

    verdict: str
    reasons: tuple[str, ...]
    profile: str
    build_id: str
    selected: str
    budget: dict[str, Any]
    agreement: dict[str, Any] | None
    accuracy: dict[str, Any] | None
    latency_ms: dict[str, Any] | None
    memory_mb: dict[str, Any] | None
    model: dict[str, Any]
    precision_candidates: tuple[dict[str, Any], ...]
    device: dict[str, Any] | None
    runtime: dict[str, Any] | None
    teacher: dict[str, Any]
    check: dict[str, Any]
    start: dict[str, Any] | None
    seeds: list[Any] | None
    skipped: dict[str, Any]
    classes: tuple[dict[str, Any], ...] = ()  # agreement class by class, of the teacher's choice
    details: tuple[str, ...] = ()  # why a measurement does not decide, in words
    next: tuple[str, ...] = ()  # what to run where, when it is unmeasured; in the file, from the bundle's own folder
    schema: int = field(default=SCHEMA)

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.verdict]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure(bundle: Path, result: Path | None = None, *, threads: int | None = None) -> Verdict:
    """Measure a bundle on this machine, or judge the `result` that its board wrote; write and return the verdict.

    On another machine than the profile's, fp32 runs on the reference runtime, so that its agreement is known. The
    workshop's own `targets/` do the measuring, never the bundle's. Raises InputError for a damaged bundle, a result
    that does not belong to it, and a runtime that does not start.
    """
    manifest, check = _open(bundle)
    paths = [result] if result is not None else local.measure(manifest, threads=threads)
    results = [read_result(path, manifest.data, manifest.sha256, len(check)) for path in paths]
    return _record(manifest, decide(manifest.data, check, results, named=result is not None), here=result is None)


def leave_to_board(bundle: Path) -> Verdict:
    """Measure nothing here: write and return the unmeasured verdict that says what to run on the board."""
    manifest, check = _open(bundle)
    return _record(manifest, decide(manifest.data, check, [], named=False), here=False)


def _open(bundle: Path) -> tuple[Manifest, CheckSet]:
    try:
        manifest = read_manifest(bundle)
    except TargetError as error:
        raise InputError(error.wrong, error.todo) from error
    return manifest, read_check(bundle / "check")


def _record(manifest: Manifest, verdict: Verdict, *, here: bool) -> Verdict:
    """Write verdict.json, which names no path of this machine; return the verdict whose lines can be run right here."""
    name = Path(manifest.path.resolve().name)
    written = replace(verdict, next=next_steps(verdict, replace(manifest, path=name), here=here))
    atomic.write_json(manifest.path / "verdict.json", written.to_json())
    return replace(verdict, next=next_steps(verdict, manifest, here=here))


@dataclass(frozen=True)
class Quality:
    """How well predictions [M] match the teacher and, where known, the truth."""

    agreement: dict[str, Any]
    accuracy: dict[str, Any] | None
    classes: tuple[dict[str, Any], ...]

    @property
    def by_accuracy(self) -> bool:
        return self.accuracy is not None and self.accuracy["images"] >= LABELLED_ENOUGH


def quality(check: CheckSet, predictions: np.ndarray, names: Sequence[str]) -> Quality:
    """Agreement with its Wilson interval; accuracy of both with the interval of student minus teacher."""
    same = predictions == check.teacher_class
    low, high = wilson(int(same.sum()), len(same))
    classes = []
    for index, name in enumerate(names):
        rows = check.teacher_class == index
        classes.append({"name": name, "images": int(rows.sum()), "agree": int((same & rows).sum())})
    accuracy = None
    known = check.labelled
    images = int(known.sum())
    if images:
        student = predictions[known] == check.labels[known]
        teacher = check.teacher_class[known] == check.labels[known]
        only_student, only_teacher = int((student & ~teacher).sum()), int((teacher & ~student).sum())
        _, lower, upper = paired_difference(only_student, only_teacher, images)
        accuracy = {
            "teacher": float(teacher.mean()),
            "student": float(student.mean()),
            "low": lower,
            "high": upper,
            "images": images,
        }
    agreement = {"value": float(same.mean()), "low": low, "high": high, "images": len(same)}
    return Quality(agreement, accuracy, tuple(classes))


def decide(manifest: dict[str, Any], check: CheckSet, results: Sequence[Result], *, named: bool) -> Verdict:
    """The verdict on a bundle from zero or more results of it.

    `named`: the results come from a machine that the user named (a result file), not from the one that happens to run
    this; only then is another machine than the profile's the wrong board.
    """
    names = [label["name"] for label in manifest["labels"]]
    budget = _budget(manifest)
    judged = [_judge(manifest, check, result, names, budget, named) for result in results]
    sound = [item for item in judged if item.obstacle is None]
    enough = len(check) >= LEAST_IMAGES
    shown = min(sound or judged, key=_rank, default=None)

    if sound and enough:
        assert shown is not None
        verdict = "fail" if shown.over else "pass"
        reasons: tuple[str, ...] = shown.over
        selected = shown.result.precision
        details: tuple[str, ...] = ()
    else:
        verdict, selected = "unmeasured", "fp32"
        found = {item.obstacle[0] for item in judged if item.obstacle} if not sound else set()
        if not judged:
            found.add("not-reached")
        if not enough:
            found.add("too-few-images")
        reasons = tuple(reason for reason in REASONS if reason in found)
        details = tuple(item.obstacle[1] for item in judged if item.obstacle)
    entries = {entry["precision"]: entry for entry in manifest["models"]}
    result = shown.result if shown else None
    return Verdict(
        verdict=verdict,
        reasons=reasons,
        profile=manifest["profile"]["name"],
        build_id=manifest["build_id"],
        selected=selected,
        budget={**budget, "overrides": manifest.get("budget_overrides", {})},
        agreement=shown.quality.agreement if shown else None,
        accuracy=shown.quality.accuracy if shown else None,
        latency_ms={**result.latency_ms, "queries": result.queries} if result and _has_latency(result) else None,
        memory_mb=_memory(result),
        model={
            "bytes": entries[result.precision if result else selected]["bytes"],
            "precision": result.precision if result else selected,
        },
        precision_candidates=_candidates(manifest, judged),
        device={"name": result.device, "matches_profile": result.matches_profile} if result else None,
        runtime={"name": result.runtime, "version": result.runtime_version} if result else None,
        teacher={"id": manifest["teacher"]["id"], "hash": manifest["teacher"]["hash"]},
        check={"images": len(check), "source": check.info.source, "synthetic": check.info.synthetic},
        start=manifest.get("start"),
        seeds=manifest.get("seeds"),
        skipped={"images": manifest.get("skipped", {}), "check": dict(check.info.skipped)},
        classes=shown.quality.classes if shown else (),
        details=details,
    )


@dataclass(frozen=True)
class _Judged:
    """One result beside the bundle: what keeps it from deciding (reason, words), and the budgets it is outside of."""

    result: Result
    quality: Quality
    obstacle: tuple[str, str] | None
    over: tuple[str, ...]


def _judge(
    manifest: dict[str, Any],
    check: CheckSet,
    result: Result,
    names: Sequence[str],
    budget: dict[str, float],
    named: bool,
) -> _Judged:
    measured = quality(check, result.predictions, names)
    return _Judged(result, measured, _obstacle(manifest, result, named), _over_budget(result, measured, budget))


def _obstacle(manifest: dict[str, Any], result: Result, named: bool) -> tuple[str, str] | None:
    """Why this result may not decide: the reason, and words about this very run."""
    profile, runtime = manifest["profile"], result.runtime
    wanted = f"{profile['title']} with {' or '.join(profile['runtime']['prefer'])}"
    if result.matches_profile is False:
        reason = "wrong-board" if named else "not-reached"
        return reason, f"{result.device} with {runtime} is not what the profile is about: {wanted}"
    if result.matches_profile is None:
        return "unrecognised", f"{result.device} could not be recognised as {profile['title']}"
    if runtime not in profile["runtime"]["prefer"]:
        return "not-reached", f"{result.device} measured with {runtime}; the profile is about {wanted}"
    if result.invalid:
        return "unstable", f"the run on {result.device} was not valid: {'; '.join(result.invalid)}"
    if not result.golden_ok:
        return "unstable", f"the golden answers are off by {result.golden_diff:.1e} with {runtime} on {result.device}"
    least = profile["measure"]["min_queries"]
    if result.queries < least:
        return "unstable", f"{result.queries} queries were timed, the profile asks for {least}"
    if result.latency_ms["p95"] is None:
        return "unstable", f"{result.queries} queries are too few for a 95th percentile"
    if result.memory_peak_mb is None:
        return "unstable", "memory was not measured"
    return None


def _over_budget(result: Result, measured: Quality, budget: dict[str, float]) -> tuple[str, ...]:
    """A sentence for every budget this result is outside of, or has no figure for. Quality first."""
    over = []
    broken = int((result.predictions == NOT_FINITE).sum())
    if broken:
        over.append(f"outputs: not finite on {broken} of {len(result.predictions)} check images")
    if measured.by_accuracy:
        accuracy, least = measured.accuracy, -budget["accuracy_drop_max"]
        assert accuracy is not None
        if not accuracy["low"] >= least:
            over.append(
                f"accuracy: the student may be up to {-100 * accuracy['low']:.1f} points below its teacher "
                f"({accuracy['student']:.3f} and {accuracy['teacher']:.3f} on {accuracy['images']} images), "
                f"{100 * (least - accuracy['low']):.1f} more than the {-100 * least:g} allowed"
            )
    else:
        agreement, least = measured.agreement, budget["agreement_min"]
        if not agreement["low"] >= least:
            over.append(
                f"agreement: {agreement['value']:.3f} on {agreement['images']} images can be as low as "
                f"{agreement['low']:.3f}, {least - agreement['low']:.3f} under the {least:g} asked for"
            )
    for figure, value, limit, unit in (
        ("latency", result.latency_ms["p95"], budget["latency_p95_ms"], "ms"),
        ("memory", result.memory_peak_mb, budget["memory_mb"], "MB"),
    ):
        if value is None:
            over.append(f"{figure}: no figure")
        elif not value <= limit:
            what = "p95 is" if figure == "latency" else "the peak is"
            over.append(f"{figure}: {what} {value:.2f} {unit}, {value - limit:.2f} over the {limit:g} allowed")
    return tuple(over)


def _rank(item: _Judged) -> tuple[Any, ...]:
    """Best first: inside every budget, then good enough, fastest and smallest in memory; a precision that is not good
    enough comes after every one that is, the one closest to the teacher first."""
    figure = "accuracy" if item.quality.by_accuracy else "agreement"
    poor = any(sentence.startswith((figure, "outputs")) for sentence in item.over)
    bound = item.quality.accuracy["low"] if item.quality.by_accuracy and item.quality.accuracy else None
    closeness = item.quality.agreement["low"] if bound is None else bound
    p95 = item.result.latency_ms["p95"]
    speed = float("inf") if p95 is None else p95
    peak = item.result.memory_peak_mb
    memory = float("inf") if peak is None else peak
    return (bool(item.over), poor, -closeness if poor else speed, speed, memory, item.result.precision, item.over)


def _budget(manifest: dict[str, Any]) -> dict[str, float]:
    budget = {}
    for key in ("latency_p95_ms", "memory_mb", "agreement_min", "accuracy_drop_max"):
        value = manifest["budget"].get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
            raise InputError(f"the manifest's budget {key} is {value!r}", "Build the bundle again.")
        budget[key] = value
    return budget


def _has_latency(result: Result) -> bool:
    return any(value is not None for value in result.latency_ms.values())


def _memory(result: Result | None) -> dict[str, Any] | None:
    if result is None or result.memory_peak_mb is None:
        return None
    return {"peak": result.memory_peak_mb, "kind": result.memory_kind}


def _candidates(manifest: dict[str, Any], judged: Sequence[_Judged]) -> tuple[dict[str, Any], ...]:
    """Every precision built or asked for: its file, and what each runtime measured with it."""
    rows: list[dict[str, Any]] = []
    for entry in manifest["models"]:
        row = {"precision": entry["precision"], "file": entry["file"], "bytes": entry["bytes"], "not_built": None}
        runs = [item for item in judged if item.result.precision == entry["precision"]]
        row["measured"] = [
            {
                "device": item.result.device,
                "runtime": item.result.runtime,
                "p95_ms": item.result.latency_ms["p95"],
                "agreement": item.quality.agreement["value"],
                "decides": item.obstacle is None,
                "over": list(item.over),
            }
            for item in runs
        ]
        rows.append(row)
    for missing in manifest.get("not_built", []):
        rows.append(
            {
                "precision": missing["precision"],
                "file": None,
                "bytes": None,
                "not_built": missing["reason"],
                "measured": [],
            }
        )
    return tuple(rows)


def next_steps(verdict: Verdict, manifest: Manifest, *, here: bool) -> tuple[str, ...]:
    """What to do about a missing verdict, line by line; nothing when there is one. `here`: this machine measured."""
    if verdict.verdict != "unmeasured":
        return ()
    if "too-few-images" in verdict.reasons:
        return (f"# here: build again with --check and at least {LEAST_IMAGES} images in it",)
    if here and verdict.reasons == ("unstable",):
        return (
            "# here: stop what else runs on this machine, and measure again",
            f"edgedistill verify {shlex.quote(str(manifest.path))}",
        )
    return board_lines(manifest)


def board_lines(manifest: Manifest) -> tuple[str, ...]:
    """What to type to have the bundle measured on its board: a shell script, USER@BOARD to be filled in."""
    bundle = shlex.quote(str(manifest.path))
    name = shlex.quote(manifest.path.resolve().name)
    compiled = "tensorrt" in manifest.profile["runtime"]["prefer"]
    return (
        f"# here: copy the bundle to the {manifest.profile['title']}",
        f"scp -r {bundle} USER@BOARD:",
        "# there: measure it",
        f"cd {name}",
        *(["python3 run.py compile"] if compiled else []),
        f"python3 run.py verify --out {BOARD_RESULT}",
        "# here: fetch the measurement, and decide",
        f"scp -r USER@BOARD:{name}/results {bundle}",
        f"edgedistill verify {bundle} --result {bundle}/{BOARD_RESULT}",
    )


def sentence(verdict: Verdict) -> str:
    """The verdict in one sentence that needs no glossary."""
    agreement, latency, device = verdict.agreement, verdict.latency_ms, verdict.device
    where = device["name"] if device else "no machine"
    quality = ""
    if agreement:
        quality = (
            f"chooses what its teacher chooses on {100 * agreement['value']:.1f} % of {agreement['images']} images"
        )
    if verdict.verdict == "pass":
        assert latency is not None
        assert verdict.memory_mb is not None
        return (
            f"On {where} the {verdict.selected} model {quality}, answers within {latency['p95']:.1f} ms "
            f"(95 of 100 times) and takes {verdict.memory_mb['peak']:.0f} MB: inside every budget."
        )
    if verdict.verdict == "fail":
        return f"On {where} the {verdict.selected} model is outside its budget: {'; '.join(verdict.reasons)}."
    why = " and ".join(REASONS[reason] for reason in verdict.reasons)
    so_far = f" Measured on {where}, it {quality}." if quality else ""
    return f"Everything is built, but {verdict.profile} has no verdict yet: {why}.{so_far}"
