"""What `run.py verify` wrote on a device, read as a file that nobody vouches for.

A result may come from any machine and any hand. Everything a verdict uses is checked here (schema, that it belongs to
this bundle, ranges, counts, finite numbers), so that nothing behind this module has to doubt it; free text is made
safe to print. Whether the numbers are good enough is decide.py's business.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..targets import outside
from ..targets.errors import TargetError
from ..targets.flaws import FIGURES, Flaw
from ..targets.manifest import Manifest, read_manifest
from ..targets.printable import line
from .verdict import Costs

SCHEMA = 2
MOST_BYTES = outside.SMALL.size
LONGEST_TEXT = 200
MANIFEST = "manifest.json"
MOST_THREADS = 1024  # of a session: as many as a profile may fix
PERCENTILES = ("p50", "p95", "p99")
ENDS = ("p95_low", "p95_high")
GIVE = "Give what `python3 run.py verify` wrote into results/ on the device."
NOT_FINITE = -1  # the prediction for an image whose outputs were NaN or infinite


@dataclass(frozen=True, kw_only=True)
class Tried:
    """Which model a device ran under which runtime; `matches_profile` is None where it cannot tell what it is."""

    precision: str
    model_file: str
    model_bytes: int
    runtime: str
    device: str
    matches_profile: bool | None
    shipped_mode: str | None = None


@dataclass(frozen=True, kw_only=True)
class Failed(Tried):
    """A candidate that did not run there, and the error."""

    error: str


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What a machine's figures depend on beside the machine itself. None: not known.

    power_mode: a Jetson's, by name. gpu_max_mhz: the clock that its GPU could reach. temperature_c: of the processor
    that ran the model, at the end. watched: what would have told of throttling; () where nothing would.
    """

    power_mode: str | None = None
    gpu_max_mhz: float | None = None
    temperature_c: float | None = None
    watched: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Result(Tried):
    """One measurement of one candidate on one machine. None: the device could not say.

    `latency_ms`: p50, p95, p99 (each float or None); `p95_low`, `p95_high`: its interval;
    `memory_peak_mb` with its kind; `golden_diff`: largest
    difference of a golden probability, with `golden_ok` as the device judged it; `threads`: of a session on the
    processor; `threads_tried`: the median in ms by their number, {} where none were tried; `invalid`: why the run does
    not count;
    `warnings`: what else to know of it.
    """

    runtime_version: str
    threads: int | None
    threads_tried: dict[int, float]
    predictions: np.ndarray  # int64 [M], -1 where the outputs were not finite
    golden_ok: bool
    golden_diff: float
    latency_ms: dict[str, float | None]
    p95_low: float | None
    p95_high: float | None
    queries: int
    memory_peak_mb: float | None
    memory_kind: str
    invalid: tuple[Flaw, ...]
    warnings: tuple[Flaw, ...]
    conditions: Conditions
    runs: int
    costs: Costs


class _Off(Exception):
    """Where a result departs from its schema."""


def result_files(named: Sequence[Path], manifest: Manifest) -> list[Path]:
    """The files among `named`; of folders among them the JSON files that lie directly inside, or, where a folder is a
    copy of the bundle that was carried to its board, those in its results/. Each once.

    Raises InputError for a folder without any, and for a copy that is not this bundle or is damaged: what was measured
    with it says nothing about this one.
    """
    found: dict[Path, None] = {}
    for path in named:
        folder = path
        if (path / MANIFEST).is_file():
            _check_copy(path, manifest)
            folder = path / "results"
        inside = sorted(folder.glob("*.json")) if path.is_dir() else [path]
        if not inside:
            raise InputError(f"{folder} holds no result", GIVE)
        found |= dict.fromkeys(inside)
    return list(found)


def _check_copy(folder: Path, manifest: Manifest) -> None:
    try:
        theirs = read_manifest(folder)
    except TargetError as error:
        raise InputError(error.wrong, "Copy the bundle again, and measure that copy on the board.") from error
    if theirs.sha256 != manifest.sha256:
        raise InputError(
            f"{folder} is a copy of another bundle than {manifest.path}",
            "Copy this bundle to the device and run `python3 run.py verify` there again.",
        )


def read_result(path: Path, manifest: dict[str, Any], manifest_sha256: str, images: int) -> Result | Failed:
    """Read and check `path` against the bundle: its manifest, the manifest's hash and the size of its check set.

    Raises InputError for everything else than a well-formed result of exactly this bundle.
    """
    content = _load(path)
    for name, own in (("build_id", manifest["build_id"]), ("manifest_sha256", manifest_sha256)):
        theirs = content.get(name)
        if theirs != own:
            raise InputError(
                f"{path} was measured on another bundle: its {name} is {safe(theirs)!r}, this one's is {own!r}",
                "Copy this bundle to the device and run `python3 run.py verify` there again.",
            )
    try:
        return _parse(content, manifest, images)
    except _Off as flaw:
        raise InputError(
            f"{path} is not a valid result: {flaw}",
            "Use the file that `python3 run.py verify` wrote, unchanged.",
        ) from None


def safe(value: object) -> str:
    """Free text from outside, fit for a terminal and a report: printable, one line, short."""
    return line(value, LONGEST_TEXT)


def _load(path: Path) -> dict[str, Any]:
    try:
        return outside.read_object(path)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", GIVE) from error
    except outside.Unfit as error:
        raise InputError(f"{path} {safe(error)}", GIVE) from error


def _parse(content: dict[str, Any], manifest: dict[str, Any], images: int) -> Result | Failed:
    tried = asdict(_tried(content, manifest))
    if "failed" in content:
        return Failed(**tried, error=_text(_object(content, "failed"), "failed.wrong"))
    runtime, golden = _object(content, "runtime"), _object(content, "golden")
    latency, memory = _object(content, "latency_ms"), _object(content, "memory_mb")
    percentiles = {name: _figure(latency, f"latency_ms.{name}") for name in PERCENTILES}
    # An interval, and runs, are absent from what bundles measured that were built before.
    low, high = (_figure(latency, f"latency_ms.{name}") if name in latency else None for name in ENDS)
    known = [value for value in percentiles.values() if value is not None]
    if known != sorted(known) or 0.0 in known:
        raise _Off(f"latencies {known} are not positive and rising")
    if not (low or 0.0) <= (percentiles["p95"] or 0.0) <= (math.inf if high is None else high):
        raise _Off(f"the interval from {low} to {high} does not hold p95")
    threads = _threads(runtime)
    golden_ok = golden.get("ok")
    if not isinstance(golden_ok, bool):
        raise _Off("golden.ok is neither true nor false")
    return Result(
        **tried,
        runtime_version=_text(runtime, "runtime.version"),
        threads=threads,
        threads_tried=_threads_tried(runtime, threads),
        predictions=_predictions(content.get("predictions"), images, len(manifest["labels"])),
        golden_ok=golden_ok,
        golden_diff=_number(golden, "golden.max_abs_diff"),
        latency_ms=percentiles,
        p95_low=low,
        p95_high=high,
        queries=_count(latency, "latency_ms.queries"),
        memory_peak_mb=_figure(memory, "memory_mb.peak"),
        memory_kind=_text(memory, "memory_mb.kind"),
        invalid=_flaws(content.get("invalid"), "invalid"),
        # Absent from the results of bundles that were built before: they watched less, and it is said to be unknown.
        warnings=_flaws(content.get("warnings", []), "warnings"),
        conditions=_conditions(_object(content, "conditions")) if "conditions" in content else Conditions(),
        runs=_count(content, "runs") if "runs" in content else 1,
        costs=_costs(content),
    )


def _threads(runtime: dict[str, Any]) -> int | None:
    if runtime.get("threads") is None:
        return None
    threads = _count(runtime, "runtime.threads")
    if not 1 <= threads <= MOST_THREADS:
        raise _Off(f"runtime.threads is {safe(runtime['threads'])}, expected 1 to {MOST_THREADS}")
    return threads


def _threads_tried(runtime: dict[str, Any], threads: int | None) -> dict[int, float]:
    """Absent, or null, where none was tried; else the number in use is among them."""
    if runtime.get("threads_tried") is None:
        return {}
    tried = _object(runtime, "runtime.threads_tried")
    found = {}
    for count in tried:
        if not re.fullmatch(r"[1-9]\d{0,3}", count, re.ASCII):
            raise _Off(f"runtime.threads_tried has {safe(count)!r}, expected numbers of threads")
        found[int(count)] = _number(tried, f"runtime.threads_tried.{count}")
    if threads not in found or 0.0 in found.values():
        raise _Off("runtime.threads_tried has no positive time for the threads in use")
    return found


def _tried(content: dict[str, Any], manifest: dict[str, Any]) -> Tried:
    if _number(content, "schema") != SCHEMA:
        raise _Off(f"schema is {content['schema']!r}, this version reads {SCHEMA}: measure it again")
    model, runtime, device = (_object(content, name) for name in ("model", "runtime", "device"))
    entry = _built_model(manifest, _text(model, "model.file"), _text(model, "model.sha256"))
    matches = content.get("matches_profile", "missing")
    if not (matches is None or isinstance(matches, bool)):
        raise _Off(f"matches_profile is {safe(matches)!r}, expected true, false or null")
    return Tried(
        precision=entry["precision"],
        model_file=entry["file"],
        model_bytes=entry["bytes"],
        runtime=_text(runtime, "runtime.name"),
        device=_text(device, "device.name"),
        matches_profile=matches,
        shipped_mode=_shipped_mode(device),
    )


def _shipped_mode(device: dict[str, Any]) -> str | None:
    """What the board itself says of the power mode it ships in; absent, or null, where it does not tell."""
    evidence = device.get("evidence")
    if not isinstance(evidence, dict) or evidence.get("power_mode_as_shipped") is None:
        return None
    return _text(evidence, "device.evidence.power_mode_as_shipped")


def _conditions(content: dict[str, Any]) -> Conditions:
    watched = content.get("watched")
    if not isinstance(watched, list) or not all(isinstance(one, str) for one in watched):
        raise _Off("conditions.watched is not a list of texts")
    return Conditions(
        power_mode=None if content.get("power_mode") is None else _text(content, "conditions.power_mode"),
        gpu_max_mhz=_figure(content, "conditions.gpu_max_mhz"),
        temperature_c=_temperature(content, "conditions.temperature_c"),
        watched=tuple(safe(one) for one in watched),
    )


# Of a verdict's Costs: the field, and where a result has it. What is absent, or null, is not known.
COSTS = {
    "load_ms": ("cold_start_ms", "load"),
    "first_ms": ("cold_start_ms", "first"),
    "end_to_end_ms": ("end_to_end_ms", "p50"),
    "energy_mj": ("energy", "mj"),
    "energy_above_idle_mj": ("energy", "mj_above_idle"),
    "idle_w": ("energy", "idle_w"),
    "first_p50_ms": ("drift", "first_p50"),
    "last_p50_ms": ("drift", "last_p50"),
}


def _costs(content: dict[str, Any]) -> Costs:
    found = {}
    for field, (place, name) in COSTS.items():
        if content.get(place) is not None and _object(content, place).get(name) is not None:
            found[field] = _signed(content[place], f"{place}.{name}")
    return Costs(**found)


def _signed(content: dict[str, Any], name: str) -> float:
    """A finite number that may be below 0: so may what is above idle be, where idle was not."""
    value = content[_key(name)]
    if isinstance(value, float | int) and not isinstance(value, bool) and -1e12 < value < 0:
        return float(value)
    return _number(content, name)


def _flaws(value: Any, where: str) -> tuple[Flaw, ...]:
    if not isinstance(value, list):
        raise _Off(f"{where} is not a list of flaws")
    found = []
    for index, entry in enumerate(value):
        if not isinstance(entry, dict) or not isinstance(entry.get("code"), str) or entry["code"] not in FIGURES:
            raise _Off(f"{where}[{index}] is no flaw that this version knows")
        what = entry.get("what", "")
        if not isinstance(what, str):
            raise _Off(f"{where}[{index}].what is not a text")
        figures = {name: _number(entry, f"{where}.{name}") for name in FIGURES[entry["code"]]}
        found.append(Flaw(entry["code"], safe(what), **figures))
    return tuple(found)


def _built_model(manifest: dict[str, Any], file: str, sha256: str) -> dict[str, Any]:
    for entry in manifest["models"]:
        if entry["file"] == file:
            if manifest["files"][file] != sha256:
                raise _Off(f"the device ran another {file} than this bundle holds")
            return entry
    raise _Off(f"this bundle holds no model {file!r}")


def _predictions(value: Any, images: int, classes: int) -> np.ndarray:
    if not isinstance(value, list) or len(value) != images:
        count = len(value) if isinstance(value, list) else "no"
        raise _Off(f"{count} predictions for {images} check images")
    for index, choice in enumerate(value):
        if type(choice) is not int or not NOT_FINITE <= choice < classes:
            raise _Off(f"prediction {index} is {safe(choice)!r}, expected a class from 0 to {classes - 1}, or -1")
    return np.array(value, dtype=np.int64)


def _object(content: dict[str, Any], name: str) -> dict[str, Any]:
    value = content.get(_key(name))
    if not isinstance(value, dict):
        raise _Off(f"{name} is missing or not an object")
    return value


def _text(content: dict[str, Any], name: str) -> str:
    value = content.get(_key(name))
    if not isinstance(value, str) or not value.strip():
        raise _Off(f"{name} is missing or not a text")
    return safe(value)


def _number(content: dict[str, Any], name: str) -> float:
    """A finite number, not negative."""
    value = content.get(_key(name))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _Off(f"{name} is missing or not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) or number < 0:
        raise _Off(f"{name} is {safe(value)}, expected a finite number, 0 or more")
    return number


def _count(content: dict[str, Any], name: str) -> int:
    number = _number(content, name)
    if number != int(number):
        raise _Off(f"{name} is {number}, expected a whole number")
    return int(number)


def _figure(content: dict[str, Any], name: str) -> float | None:
    """A number, or None where the device gives none (the key must be there)."""
    if _key(name) not in content:
        raise _Off(f"{name} is missing")
    return None if content[_key(name)] is None else _number(content, name)


def _temperature(content: dict[str, Any], name: str) -> float | None:
    """As `_figure`, in Celsius: it may be below 0, in a box outdoors."""
    value = content.get(_key(name))
    if isinstance(value, float | int) and -100 < value < 0:
        return float(value)
    return _figure(content, name)


def _key(name: str) -> str:
    return name.rpartition(".")[2]
