"""What a device measured of one candidate, as JSON. It knows no verdict.

The keys: schema, build_id, manifest_sha256, model, runtime, device, matches_profile (true, false, or null where the
machine cannot be recognised), predictions, golden, latency_ms (null where nothing was timed), memory_mb (its peak null
where not known), invalid (why the run does not count: flaws.py; empty when it does), warnings (what else to know of it,
in the same form), conditions and machine_state (state.py), drift (steadiness.py), load (load.py; null where it was too
short to tell), end_to_end_ms (end_to_end.py), energy (power.py; null where no rail tells), cold_start_ms (of a fresh
process: load, from the file to a session, and first, its first query), versions, mode and runs (length.py: how many
were made, of which this is the last). Where the number of threads was found by trial, runtime.threads_tried has the
median in ms for each (thread_trial.py). A candidate that could not be run has `failed` (the error's two lines) in place
of everything that would have been measured; one on an emulated processor lacks what is timed.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from . import arrays, cores, end_to_end, load, machine, measure, power, steadiness, thread_trial, trt
from .cudart import Gpu
from .errors import TargetError
from .flaws import Flaw
from .golden import compare_golden, flaws_of
from .length import Loop
from .manifest import REBUILD, Manifest
from .names import PRECISIONS, RUNTIMES, on_gpu
from .outside import Unfit
from .runtimes import Candidate, leaves_threads, open_session
from .watched import Subject, Watched, in_turns

SCHEMA = 2
MOST_BYTES = 64 << 30  # of an array of the check set; that of the images is read by and by
PACKAGES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "tensorrt", "torch", "torch-tensorrt")
MODEL_ALONE = 200  # queries timed by the GPU's own clock
FIGURES = ("p50", "p95", "p99", "p95_low", "p95_high", "min", "max", "mean")  # of measure.latency_summary
NOT_TIMED = {**dict.fromkeys(FIGURES), "queries": 0, "batch": 1}
HEAD = ("schema", "build_id", "manifest_sha256", "model", "runtime", "device", "matches_profile", "versions")


def load_check_images(manifest: Manifest) -> np.ndarray:
    """check/images.npy as uint8 [M,S,S,3] in memory. TargetError for anything else."""
    path = manifest.file("check/images.npy")
    try:
        images = arrays.read_npy(path, MOST_BYTES, mapped=True)
    except (OSError, Unfit) as error:
        raise TargetError(f"cannot read {path}: {error}", REBUILD) from error
    size = manifest.size
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3) or len(images) == 0:
        raise TargetError(f"{path} holds {images.dtype} {list(images.shape)}, not uint8 [M,{size},{size},3]", REBUILD)
    return np.array(images)


@dataclass
class _Opened:
    """A candidate whose session runs, and what it answered."""

    candidate: Candidate
    session: Any
    predictions: np.ndarray
    golden: dict[str, Any]
    gpu: Gpu | None
    tried: dict[int, float]  # thread_trial.medians

    def subject(self, images: np.ndarray) -> Subject:
        """What is timed: a query for each image."""
        queries = [images[index : index + 1] for index in range(len(images))]
        return Subject(self.session.run, queries, self.gpu, self.session.describe().get("threads"))

    def describe(self) -> dict[str, Any]:
        """The session's, and which threads were tried, where any were."""
        tried = {str(count): median for count, median in self.tried.items()}
        return self.session.describe() | ({"threads_tried": tried} if tried else {})


def measure_candidates(
    manifest: Manifest,
    candidates: Sequence[Candidate],
    loop: Loop,
    threads: int | None,
    *,
    earlier: Sequence[dict[str, Any]] = (),
    progress: Callable[[int], object] = lambda rounds: None,
) -> list[dict[str, Any]]:
    """The result of every candidate, in their order, all but memory_mb, which a fresh process measures.

    Quality on the whole check set; latencies side by side, so that candidates are compared in one state of the machine.
    earlier: results of runs just before, which did not count: their turns are looks at the same latency. progress: told
    how many of the loop's rounds are over.
    On an emulated processor nothing is timed, and memory_mb is there and unknown. One that does not run is a result
    with `failed`; TargetError where none does.
    """
    images, facts = load_check_images(manifest), machine.read_facts()
    identity = machine.identify(manifest.profile, facts=facts)
    found: dict[Candidate, dict[str, Any]] = {}
    errors: list[TargetError] = []
    idle = power.idle_w() if loop.tells_load else None
    opened: list[_Opened] = []
    with ExitStack() as closing:
        for candidate in candidates:
            try:
                opened.append(_open(manifest, candidate, images, facts, threads, loop, closing))
            except TargetError as error:
                errors.append(error)
                found[candidate] = as_failed(_head(manifest, candidate, facts, identity), error)
        if not opened:
            raise errors[0]
        if facts.emulated_on:
            for one in opened:
                answers = _of_emulated(manifest, one, facts.emulated_on)
                found[one.candidate] = _head(manifest, one.candidate, facts, identity) | answers
            return [found[candidate] for candidate in candidates]
        files = end_to_end.golden_files(manifest)
        subjects = [one.subject(images) for one in opened]
        for one, subject, timed in zip(opened, subjects, in_turns(subjects, loop, progress=progress)):
            measured = _measured(manifest, one, timed, earlier)
            alone_s = min(loop.min_s, end_to_end.SECONDS)
            measured["end_to_end_ms"] = end_to_end.from_file(one.session, files, manifest.size, alone_s)
            measured["energy"] = power.energy(subject.again(), idle) if loop.tells_load else None
            found[one.candidate] = _head(manifest, one.candidate, facts, identity) | measured
    return [found[candidate] for candidate in candidates]


def _open(
    manifest: Manifest,
    candidate: Candidate,
    images: np.ndarray,
    facts: machine.Facts,
    threads: int | None,
    loop: Loop,
    closing: ExitStack,
) -> _Opened:
    session, tried = open_settled(manifest, candidate, images, threads, loop, closing, timed=not facts.emulated_on)
    gpu = facts.gpus[0] if on_gpu(candidate.runtime) and facts.gpus else None
    predictions = measure.predict_all(session, images)
    golden = compare_golden(manifest, candidate.precision, session)
    return _Opened(candidate, session, predictions, golden, gpu, tried)


def open_settled(
    manifest: Manifest,
    candidate: Candidate,
    images: np.ndarray,
    threads: int | None,
    loop: Loop,
    closing: ExitStack,
    *,
    timed: bool = True,
) -> tuple[Any, dict[int, float]]:
    """The candidate's session, which `closing` closes, in the threads that were asked for, that the profile fixes, or
    that a trial finds (thread_trial.py, with its medians by the number of threads; {} without one).

    loop: what it will be timed by; a trial takes no longer. timed: whether anything may be timed here.
    """
    opened = partial(open_session, manifest, candidate.precision, candidate.runtime)
    tried: dict[int, float] = {}
    if timed and leaves_threads(manifest, candidate.runtime, threads):
        queries = [image[None] for image in images]
        tried = thread_trial.medians(opened, queries, min(thread_trial.SECONDS, loop.min_s))
    session = opened(thread_trial.fewest(tried) if tried else threads)
    closing.callback(session.close)
    return session, tried


def _head(manifest: Manifest, candidate: Candidate, facts: machine.Facts, identity: machine.Identity) -> dict[str, Any]:
    """Which bundle, model, runtime and machine a result is about."""
    entry = manifest.model(candidate.precision)
    preferred = manifest.profile["runtime"]["prefer"]
    of_the_profile = candidate.runtime in preferred
    matches = {machine.MATCH: True, machine.MISMATCH: False, machine.UNREADABLE: None}[identity.status]
    return {
        "schema": SCHEMA,
        "build_id": manifest.build_id,
        "manifest_sha256": manifest.sha256,
        "model": {
            "file": entry["file"],
            "sha256": manifest.data["files"][entry["file"]],
            "precision": candidate.precision,
            "bytes": (manifest.path / entry["file"]).stat().st_size,
        },
        "runtime": {"name": candidate.runtime},
        "device": {
            "name": machine.device_name(facts, gpu=on_gpu(candidate.runtime)),
            "machine": facts.machine,
            "system": f"{platform.system()} {platform.release()}",
            "evidence": {
                **identity.evidence,
                "runtime": {"wanted": preferred, "found": candidate.runtime, "ok": of_the_profile},
            },
        },
        # The right board with a runtime that does not ship there is never the profile's number.
        "matches_profile": matches if of_the_profile else False,
        "versions": versions(),
    }


def _measured(manifest: Manifest, one: _Opened, timed: Watched, earlier: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What was measured of a candidate, and why it does not count."""
    runtime = one.describe()
    room = load.room_on(len(cores.usable_cores()))
    flaws = timed.flaws(manifest.profile["measure"]["hot_c"], room, _turns_of(one.candidate, runtime, earlier))
    return {
        "runtime": runtime | _model_alone(one.session),
        "predictions": one.predictions.tolist(),
        "golden": one.golden,
        "latency_ms": measure.latency_summary(np.concatenate(timed.turns)),
        "drift": steadiness.drift(timed.turns),
        "load": timed.load and timed.load.to_json(),
        "invalid": [flaw.to_json() for flaw in (*flaws, *_wrong_answers(manifest, one))],
        "warnings": [warning.to_json() for warning in timed.course.warnings()],
        "conditions": timed.course.conditions(),
        "machine_state": timed.course.to_json(),
    }


def _turns_of(candidate: Candidate, runtime: dict[str, Any], earlier: Sequence[dict[str, Any]]) -> list[float]:
    """The medians of the turns that the same candidate took before, in as many threads, ms."""
    found: list[float] = []
    for one in earlier:
        own = "failed" not in one and "drift" in one and one["model"]["precision"] == candidate.precision
        if own and all(one["runtime"].get(key) == runtime.get(key) for key in ("name", "threads")):
            found += one["drift"]["turns"]
    return found


def _of_emulated(manifest: Manifest, one: _Opened, emulated_on: str) -> dict[str, Any]:
    """What a candidate answered on an emulated processor. A time would be stored beside a board's name one day."""
    flaws = [Flaw("emulated", emulated_on), *_wrong_answers(manifest, one)]
    return {
        "runtime": one.session.describe(),
        "predictions": one.predictions.tolist(),
        "golden": one.golden,
        "latency_ms": NOT_TIMED,
        "memory_mb": {"peak": None, "kind": "not measured"},
        "invalid": [flaw.to_json() for flaw in flaws],
        "warnings": [],
        "conditions": {"power_mode": None, "gpu_max_mhz": None, "temperature_c": None, "watched": []},
        "machine_state": {},
    }


def _wrong_answers(manifest: Manifest, one: _Opened) -> list[Flaw]:
    """Outputs that are not numbers, or not those of the golden set."""
    broken = int((one.predictions < 0).sum())
    return ([Flaw("non-finite", value=broken)] if broken else []) + flaws_of(one.golden, manifest)


def _model_alone(session: Any) -> dict[str, Any]:
    """How long the GPU computes without copies and Python, where the runtime can tell: `model_p50_ms`. It decides
    nothing; beside the latency it says whether a faster model would help."""
    if not isinstance(session, trt.Session):
        return {}
    return {"model_p50_ms": round(float(np.median(session.model_ms(MODEL_ALONE))), 4)}


def as_failed(found: dict[str, Any], error: TargetError) -> dict[str, Any]:
    """The result of a candidate that could not be run here: which it is, and the error's two lines."""
    kept = {key: value for key, value in found.items() if key in HEAD}
    return kept | {"failed": {"wrong": error.wrong, "todo": error.todo}}


def remove_stale(folder: Path, measured: Collection[str]) -> None:
    """Remove what an earlier measurement left in `folder` of candidates not among `measured` (such as "fp32-tensorrt").

    They were measured in another state of the machine, perhaps under a runtime that is gone, and would be judged beside
    the new ones. Other files stay.
    """
    for candidate in (Candidate(precision, runtime) for runtime in RUNTIMES for precision in PRECISIONS):
        if str(candidate) not in measured:
            (folder / f"{candidate}.json").unlink(missing_ok=True)


def versions() -> dict[str, str]:
    """Versions of what can change a number."""
    found = {"python": platform.python_version(), "numpy": np.__version__}
    for name in (*PACKAGES, "pillow"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if release := _first_line(Path("/etc/nv_tegra_release")):
        found["l4t"] = release
    if threads := os.environ.get("OMP_NUM_THREADS"):
        found["OMP_NUM_THREADS"] = threads
    return found


def _first_line(path: Path) -> str:
    try:
        return path.read_text(errors="replace").split("\n")[0].strip()
    except OSError:
        return ""
