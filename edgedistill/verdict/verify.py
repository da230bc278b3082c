"""From a bundle to its verdict: have it measured, or read what its board measured; decide; write verdict.json."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from ..bundle.checkset import FILES, read_check
from ..devices.device import Device
from ..devices.folder import Folder
from ..devices.local import Local
from ..devices.measured import results_of
from ..devices.measurement import FULL, Measurement
from ..errors import InputError
from ..targets.errors import TargetError
from ..targets.manifest import Manifest, read_manifest
from ..work import atomic
from ..work.console import SILENT, Progress
from .decide import decide
from .results import read_result, result_files
from .verdict import LEAST_IMAGES, Verdict

log = logging.getLogger(__name__)


def verify(
    bundle: Path,
    device: Device | None = None,
    results: Sequence[Path] = (),
    *,
    asked: Measurement = FULL,
    progress: Progress = SILENT,
) -> Verdict:
    """Have `device` (this machine unless given) measure the bundle, or judge `results`; write and return the verdict.

    results: files that `run.py verify` wrote, folders of them, and copies of the bundle that were carried to the board;
    nothing is measured then. asked: how to measure. Raises InputError for a damaged bundle,
    a result that does not belong to it, a device that cannot be reached, and a runtime that does not start.
    """
    manifest = _open(bundle)
    results_of(manifest)
    check = read_check(_check_folder(manifest), len(manifest.labels))
    if results and device is not None:
        raise InputError("results were given and a device to measure on", "Give one of them.")
    device = device or (Folder() if results else Local())
    measured = nullcontext(result_files(results, manifest)) if results else device.measure(manifest, asked, progress)
    with measured as files:
        found = [read_result(path, manifest.data, manifest.sha256, len(check)) for path in files]
        decided = decide(manifest.data, check, found, named=bool(results) or device.named)
        verdict = _record(manifest, decided, device)
    return verdict


def _open(bundle: Path) -> Manifest:
    try:
        return read_manifest(bundle)
    except TargetError as error:
        raise InputError(error.wrong, error.todo) from error


def _check_folder(manifest: Manifest) -> Path:
    """check/, whose files the manifest lists: their hashes were found right when it was read."""
    try:
        for name in FILES:
            manifest.listed(f"check/{name}")
    except TargetError as error:
        raise InputError(error.wrong, error.todo) from error
    return manifest.path / "check"


def _record(manifest: Manifest, verdict: Verdict, device: Device) -> Verdict:
    """Write verdict.json, which names no path of this machine; return the verdict whose lines can be run right here.

    Where it cannot be written, a warning says so.
    """
    name = Path(manifest.path.resolve().name)
    written = replace(verdict, next=next_steps(verdict, replace(manifest, path=name), device.anonymous()))
    try:
        atomic.write_json(manifest.path / "verdict.json", written.to_json())
    except (OSError, InputError) as error:  # read-only, full or gone: what was found is still said
        why = error.wrong if isinstance(error, InputError) else error.strerror
        log.warning("verdict.json cannot be stored in %s: %s", manifest.path, why)
    return replace(verdict, next=next_steps(verdict, manifest, device))


def next_steps(verdict: Verdict, manifest: Manifest, device: Device) -> tuple[str, ...]:
    """What to do about a missing verdict, line by line; nothing when there is one."""
    if verdict.verdict != "unmeasured":
        return ()
    if "too-few-images" in verdict.reasons:
        return (f"# here: build again with --check and at least {LEAST_IMAGES} images in it",)
    return device.next_steps(manifest, unstable=verdict.reasons == ("unstable",))
