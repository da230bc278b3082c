"""Results in, verdict out: a pure function of a bundle's manifest, its check set and what devices measured of it.

A result decides only if it comes from the profile's device and one of the profile's runtimes, and if the run was sound;
what another machine measured is shown with that machine's name. Among the candidates that are inside every budget the
fastest is selected; a lower precision is among them only if it is faster than fp32 there and loses no more than the
accuracy budget against it, or, where --precision asks for it, whether it is faster or not. Nothing missing ever counts
as met.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from .. import profiles
from ..bundle.checkset import CheckSet
from ..errors import InputError
from ..export.int8_facts import Int8Facts
from ..records import read
from ..targets.flaws import Flaw
from ..targets.printable import line
from .against_fp32 import compare, fastest, kept_back, lost
from .intervals import paired_difference, wilson
from .results import NOT_FINITE, Failed, Result
from .stated import check_stated
from .verdict import (
    LEAST_IMAGES,
    QUALITY,
    REASONS,
    Accuracy,
    AgainstFp32,
    Agreement,
    Board,
    Budget,
    Candidate,
    Check,
    ClassAgreement,
    KeptBack,
    Latency,
    Machine,
    Memory,
    Model,
    Obstacle,
    Outcome,
    Over,
    Reason,
    Runtime,
    Seed,
    Skipped,
    Start,
    Teacher,
    Verdict,
)

MANIFEST = "the manifest"


@dataclass(frozen=True)
class Quality:
    """How well predictions [M] match the teacher and, where known, the truth."""

    agreement: Agreement
    accuracy: Accuracy | None
    classes: tuple[ClassAgreement, ...]

    @property
    def low(self) -> float:
        """The lower bound that decides."""
        return self.accuracy.low if self.accuracy is not None and self.accuracy.decides else self.agreement.low


@dataclass(frozen=True)
class Judged:
    """One result beside the bundle: what keeps it from deciding, and the budgets it is outside of.

    `against_fp32`, `kept_back`: beside fp32 on the same device, and why it is not used though it is sound.
    """

    result: Result
    quality: Quality
    obstacle: Obstacle | None
    over: tuple[Over, ...]
    against_fp32: AgainstFp32 | None = None
    kept_back: tuple[KeptBack, ...] = ()


def decide(manifest: dict[str, Any], check: CheckSet, results: Sequence[Result | Failed], *, named: bool) -> Verdict:
    """The verdict on a bundle from zero or more results of it; `next` is left empty.

    `named`: the results come from a machine that the user named (a result file), not from the one that happens to run
    this; only then is another machine than the profile's the wrong board. Raises InputError for a manifest without its
    budgets, or with another type of value than the build writes.
    """
    check_stated(manifest)
    budget = _budget(manifest)
    judged = [judge(manifest, check, result, budget, named) for result in results if isinstance(result, Result)]
    judged = [_beside_fp32(item, judged, check, budget, manifest.get("forced")) for item in judged]
    failed = [result for result in results if isinstance(result, Failed)]
    sound = [item for item in judged if item.obstacle is None]
    usable = [item for item in sound if not item.kept_back]
    shown = min(usable or [item for item in judged if not item.kept_back] or judged, key=_rank, default=None)
    reasons = _reasons(judged, failed, len(check)) if len(check) < LEAST_IMAGES or not usable else ()
    outcome: Outcome = "unmeasured" if reasons else "fail" if shown is not None and shown.over else "pass"
    chosen = None if reasons else shown
    return replace(
        _unmeasured(manifest, check, budget),
        verdict=outcome,
        reasons=reasons,
        over=chosen.over if chosen else (),
        selected=chosen.result.precision if chosen else "fp32",
        precision_candidates=_candidates(manifest, judged, failed, chosen),
        **_figures(shown),
    )


def judge(manifest: dict[str, Any], check: CheckSet, result: Result, budget: Budget, named: bool) -> Judged:
    """One result beside the bundle's check set and budgets."""
    names = [label["name"] for label in manifest["labels"]]
    measured = quality(check, result.predictions, names)
    return Judged(result, measured, _obstacle(manifest, result, named), _over(result, measured, budget))


def _beside_fp32(item: Judged, judged: Sequence[Judged], check: CheckSet, budget: Budget, forced: str | None) -> Judged:
    """The same with how it compares with fp32, and why it is not used for that.

    Where fp32 was not measured on its device (somebody measured this model alone, or fp32 does not run there), there is
    nothing to compare with, and the budgets decide alone.
    """
    asked = forced in (None, item.result.precision)
    if item.result.precision == "fp32":
        return item if asked else replace(item, kept_back=("not-asked",))
    there = [one for one in judged if one.result.precision == "fp32" and one.result.device == item.result.device]
    sound = [one.result for one in there if one.obstacle is None]
    fp32 = fastest(sound or [one.result for one in there])
    if fp32 is None:
        return item
    found = compare(check, item.result, fp32)
    if forced == item.result.precision:
        return replace(item, against_fp32=found, over=(*item.over, *lost(found, budget)))
    if item.obstacle is None and not sound:
        return replace(item, against_fp32=found, kept_back=("not-compared",))
    return replace(item, against_fp32=found, kept_back=kept_back(found, budget))


def quality(check: CheckSet, predictions: np.ndarray, names: Sequence[str]) -> Quality:
    """Agreement with its Wilson interval; accuracy of both with the interval of student minus teacher."""
    same = predictions == check.teacher_class
    low, high = wilson(int(same.sum()), len(same))
    classes = []
    for index, name in enumerate(names):
        rows = check.teacher_class == index
        classes.append(ClassAgreement(name=name, images=int(rows.sum()), agree=int((same & rows).sum())))
    agreement = Agreement(value=float(same.mean()), low=low, high=high, images=len(same))
    return Quality(agreement, _accuracy(check, predictions), tuple(classes))


def _accuracy(check: CheckSet, predictions: np.ndarray) -> Accuracy | None:
    known = check.labelled
    images = int(known.sum())
    if not images:
        return None
    student = predictions[known] == check.labels[known]
    teacher = check.teacher_class[known] == check.labels[known]
    only_student, only_teacher = int((student & ~teacher).sum()), int((teacher & ~student).sum())
    _, low, high = paired_difference(only_student, only_teacher, images)
    return Accuracy(teacher=float(teacher.mean()), student=float(student.mean()), low=low, high=high, images=images)


def _obstacle(manifest: dict[str, Any], result: Result, named: bool) -> Obstacle | None:
    """Why this result may not decide, or None."""
    profile = manifest["profile"]
    if any(flaw.code == "emulated" for flaw in result.invalid):
        return Obstacle(reason="emulated")
    if result.matches_profile is False:
        return Obstacle(reason="wrong-board" if named else "not-reached")
    if result.matches_profile is None:
        return Obstacle(reason="unrecognised")
    if result.runtime not in profile["runtime"]["prefer"]:
        return Obstacle(reason="not-reached")
    flaws = list(result.invalid)
    if not result.golden_ok and not any(flaw.code.startswith("golden") for flaw in flaws):
        flaws.append(Flaw("golden", value=result.golden_diff, limit=_golden_tolerance(manifest, result.precision)))
    if result.queries < (least := profile["measure"]["min_queries"]):
        flaws.append(Flaw("few-queries", value=result.queries, limit=least))
    if result.latency_ms["p95"] is None:
        flaws.append(Flaw("no-p95", value=result.queries))
    elif result.p95_high is None:
        flaws.append(Flaw("no-interval"))
    if result.memory_peak_mb is None and not any(flaw.code == "memory-unknown" for flaw in flaws):
        flaws.append(Flaw("memory-unknown"))
    return Obstacle(reason="unstable", flaws=tuple(flaws), runs=result.runs) if flaws else None


def _golden_tolerance(manifest: dict[str, Any], precision: str) -> float:
    return next(entry["golden_tolerance"] for entry in manifest["models"] if entry["precision"] == precision)


def _over(result: Result, measured: Quality, budget: Budget) -> tuple[Over, ...]:
    """Every budget that this result is outside of, or has no figure for. Quality first."""
    over = []
    if broken := int((result.predictions == NOT_FINITE).sum()):
        over.append(Over(figure="outputs", value=broken, limit=0, unit="images"))
    accuracy, agreement = measured.accuracy, measured.agreement
    if accuracy is not None and accuracy.decides:
        difference, least = accuracy.student - accuracy.teacher, -budget.accuracy_drop_max
        if not accuracy.low >= least:
            over.append(Over(figure="accuracy", value=difference, low=accuracy.low, limit=least, unit="share"))
    elif not agreement.low >= budget.agreement_min:
        least = budget.agreement_min
        over.append(Over(figure="agreement", value=agreement.value, low=agreement.low, limit=least, unit="share"))
    p95, high, peak = result.latency_ms["p95"], result.p95_high, result.memory_peak_mb
    if p95 is None or not (p95 if high is None else high) <= budget.latency_p95_ms:
        over.append(Over(figure="latency", value=p95, high=high, limit=budget.latency_p95_ms, unit="ms"))
    if peak is None or not peak <= budget.memory_mb:
        over.append(Over(figure="memory", value=peak, limit=budget.memory_mb, unit="MB"))
    return tuple(over)


def _rank(item: Judged) -> tuple[Any, ...]:
    """Best first: inside every budget, then good enough, fastest and smallest in memory; a precision that is not good
    enough comes after every one that is, the one closest to the teacher first."""
    poor = any(over.figure in QUALITY for over in item.over)
    p95, peak = item.result.latency_ms["p95"], item.result.memory_peak_mb
    speed, memory = (float("inf") if value is None else value for value in (p95, peak))
    closeness = item.quality.low
    named = (item.result.precision, item.result.runtime, item.result.device)
    return (bool(item.over), poor, -closeness if poor else speed, speed, memory, -closeness, named)


def _reasons(judged: Sequence[Judged], failed: Sequence[Failed], images: int) -> tuple[Reason, ...]:
    """Why nothing decides, in the order of REASONS."""
    found: set[str] = set()
    if all(item.obstacle or item.kept_back for item in judged):
        found = {item.obstacle.reason for item in judged if item.obstacle}
        if not judged:
            found.add("unstable" if any(one.matches_profile for one in failed) else "not-reached")
        elif not found:  # the one that was asked for does not run there
            found.add("unstable")
    if images < LEAST_IMAGES:
        found.add("too-few-images")
    return tuple(reason for reason in REASONS if reason in found)  # type: ignore[misc]  # a tuple of Reason


def _unmeasured(manifest: dict[str, Any], check: CheckSet, budget: Budget) -> Verdict:
    """The verdict before any result: what the bundle itself says."""
    profile, start, seeds = manifest["profile"], manifest.get("start"), manifest.get("seeds")
    fp32 = next(entry for entry in manifest["models"] if entry["precision"] == "fp32")
    return Verdict(
        verdict="unmeasured",
        reasons=(),
        over=(),
        profile=line(profile["name"]),
        board=Board(
            title=line(profile["title"]),
            runtimes=tuple(profile["runtime"]["prefer"]),
            power_mode=(profile.get("power") or {}).get("default"),
            has_power_modes=bool(profile.get("power")),
        ),
        build_id=manifest["build_id"],
        selected="fp32",
        forced=manifest.get("forced"),
        budget=budget,
        agreement=None,
        accuracy=None,
        latency_ms=None,
        memory_mb=None,
        model=Model(bytes=fp32["bytes"], precision="fp32"),
        precision_candidates=(),
        device=None,
        runtime=None,
        teacher=Teacher(id=manifest["teacher"]["id"], hash=manifest["teacher"]["hash"]),
        check=Check(images=len(check), source=check.info.source, synthetic=check.info.synthetic),
        start=read(Start, start, MANIFEST, "start.") if start else None,
        seeds=tuple(read(Seed, row, MANIFEST, "seeds.") for row in seeds) if seeds else None,
        skipped=Skipped(images=dict(manifest.get("skipped", {})), check=dict(check.info.skipped)),
    )


def _figures(shown: Judged | None) -> dict[str, Any]:
    """The fields of a verdict that are of one candidate."""
    if shown is None:
        return {}
    result, measured = shown.result, shown.quality
    return {
        "agreement": measured.agreement,
        "accuracy": measured.accuracy,
        "classes": measured.classes,
        "latency_ms": _latency(result),
        "memory_mb": _memory(result),
        "costs": result.costs,
        "model": Model(bytes=result.model_bytes, precision=result.precision),
        "device": _machine(result),
        "runtime": _runtime(result),
    }


def _runtime(result: Result) -> Runtime:
    tried = {str(count): median for count, median in sorted(result.threads_tried.items())}
    return Runtime(
        name=result.runtime, version=result.runtime_version, threads=result.threads, threads_tried=tried or None
    )


def _machine(result: Result) -> Machine:
    found = result.conditions
    seen = any(flaw.code in ("throttled", "over-current") for flaw in result.invalid)
    return Machine(
        name=result.device,
        matches_profile=result.matches_profile,
        power_mode=found.power_mode,
        shipped_mode=result.shipped_mode,
        gpu_max_mhz=found.gpu_max_mhz,
        temperature_c=found.temperature_c,
        throttling="seen" if seen else "none" if found.watched else "unknown",
    )


def _latency(result: Result) -> Latency | None:
    if all(value is None for value in result.latency_ms.values()):
        return None
    ends = {"p95_low": result.p95_low, "p95_high": result.p95_high}
    return Latency(**result.latency_ms, queries=result.queries, **ends)


def _memory(result: Result) -> Memory | None:
    return None if result.memory_peak_mb is None else Memory(peak=result.memory_peak_mb, kind=result.memory_kind)


def _candidates(
    manifest: dict[str, Any], judged: Sequence[Judged], failed: Sequence[Failed], chosen: Judged | None
) -> tuple[Candidate, ...]:
    """Every precision built or asked for, and every runtime it was measured under; the best first."""
    rows = []
    made = {
        entry["precision"]: read(Int8Facts, entry["int8"], MANIFEST, "int8.")
        for entry in manifest["models"]
        if "int8" in entry
    }
    for item in sorted(judged, key=lambda item: (item.obstacle is not None, bool(item.kept_back), _rank(item))):
        result, accuracy = item.result, item.quality.accuracy
        row = Candidate(
            precision=result.precision,
            selected=item is chosen,
            file=result.model_file,
            bytes=result.model_bytes,
            runtime=result.runtime,
            device=result.device,
            latency_ms=_latency(result),
            memory_mb=result.memory_peak_mb,
            agreement=item.quality.agreement.value,
            accuracy=accuracy.student if accuracy is not None else None,
            over=item.over,
            obstacle=item.obstacle,
            against_fp32=item.against_fp32,
            kept_back=item.kept_back,
            int8=made.get(result.precision),
            warnings=result.warnings,
        )
        rows.append(row)
    rows += [
        Candidate(
            precision=one.precision,
            file=one.model_file,
            bytes=one.model_bytes,
            runtime=one.runtime,
            device=one.device,
            error=one.error,
            int8=made.get(one.precision),
        )
        for one in failed
    ]
    tried = {row.precision for row in rows}
    rows += [
        Candidate(
            precision=entry["precision"], file=entry["file"], bytes=entry["bytes"], int8=made.get(entry["precision"])
        )
        for entry in manifest["models"]
        if entry["precision"] not in tried
    ]
    missing = manifest.get("not_built", [])
    return (*rows, *(Candidate(precision=one["precision"], not_built=line(one["reason"])) for one in missing))


def _budget(manifest: dict[str, Any]) -> Budget:
    try:
        stated = read(Budget, {**manifest["budget"], "overrides": manifest.get("budget_overrides", {})}, MANIFEST)
    except InputError as error:
        raise InputError(error.wrong, "Build the bundle again.") from error
    for name in (one.name for one in fields(profiles.Budget)):
        if name not in manifest["budget"]:  # a default must not stand in for what was not stated
            raise InputError(f"{MANIFEST}: {name} is missing", "Build the bundle again.")
    return stated
