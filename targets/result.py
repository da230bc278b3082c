"""One measured model as result.json: predictions, golden answers, latency, machine state. It knows no verdict.

The keys: schema, build_id, manifest_sha256, model, runtime, device, matches_profile (true, false, or null where the
machine cannot be recognised), predictions, golden, latency_ms, memory_mb (its peak null where not known), invalid (why
the run does not count; empty when it does), machine_state, versions.
"""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from . import machine, measure
from .errors import TargetError
from .manifest import REBUILD, Manifest
from .runtimes import CPU

SCHEMA = 1


@dataclass(frozen=True)
class Loop:
    """How long is measured: seconds before, then at least so many seconds and queries."""

    warmup_s: float
    min_s: float
    min_queries: int


def load_check_images(manifest: Manifest) -> np.ndarray:
    """check/images.npy as uint8 [M,S,S,3] in memory. TargetError for anything else."""
    path = manifest.file("check/images.npy")
    try:
        images = np.load(path, allow_pickle=False, mmap_mode="r")
    except (OSError, ValueError) as error:
        raise TargetError(f"cannot read {path}: {error}", REBUILD) from error
    size = manifest.size
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3) or len(images) == 0:
        raise TargetError(f"{path} holds {images.dtype} {list(images.shape)}, not uint8 [M,{size},{size},3]", REBUILD)
    return np.array(images)


def take(
    manifest: Manifest,
    precision: str,
    runtime: str,
    session: Any,
    images: np.ndarray,
    facts: machine.Facts,
    loop: Loop,
) -> dict[str, Any]:
    """Everything of result.json but memory_mb, which a fresh process measures."""
    on_gpu = runtime != CPU
    gpu = facts.gpus[0] if on_gpu and facts.gpus else None
    predictions = measure.predict_all(session, images)
    golden = compare_golden(manifest, precision, session)
    before = machine.read_state(gpu=gpu)
    times = measure.time_queries(
        session, images, warmup_s=loop.warmup_s, min_s=loop.min_s, min_queries=loop.min_queries
    )
    after = measure.under_load(session, images, lambda: machine.read_state(gpu=gpu))
    identity = machine.identify(manifest.profile, facts=facts)
    matches = {machine.MATCH: True, machine.MISMATCH: False, machine.UNREADABLE: None}[identity.status]
    preferred = manifest.profile["runtime"]["prefer"]
    evidence = {**identity.evidence, "runtime": {"wanted": preferred, "found": runtime, "ok": runtime in preferred}}
    if runtime not in preferred:  # the right board, but not what ships there: never the profile's number
        matches = False
    invalid = machine.why_invalid(before, after, manifest.profile["measure"]["hot_c"])
    if bad := int((predictions < 0).sum()):
        invalid.append(f"non-finite outputs for {bad} of {len(predictions)} check images")
    if not golden["ok"]:
        invalid.append(
            f"golden images: probabilities differ by {golden['max_abs_diff']}, allowed {golden['tolerance']}; "
            f"pixels by {golden['pixels_max_diff']}, allowed {manifest.golden_pixel_tolerance}"
        )
    entry = manifest.model(precision)
    path = manifest.path / entry["file"]
    return {
        "schema": SCHEMA,
        "build_id": manifest.build_id,
        "manifest_sha256": manifest.sha256,
        "model": {
            "file": entry["file"],
            "sha256": manifest.data["files"][entry["file"]],
            "precision": precision,
            "bytes": path.stat().st_size,
        },
        "runtime": session.describe(),
        "device": {
            "name": machine.device_name(facts, gpu=on_gpu),
            "machine": facts.machine,
            "system": f"{platform.system()} {platform.release()}",
            "evidence": evidence,
        },
        "matches_profile": matches,
        "predictions": predictions.tolist(),
        "golden": golden,
        "latency_ms": measure.latency_summary(times),
        "invalid": invalid,
        "machine_state": {"before": before, "after": after},
        "versions": versions(),
    }


def compare_golden(manifest: Manifest, precision: str, session: Any) -> dict[str, Any]:
    """Probabilities of the golden pixels against the workshop's fp32 ones, and pixels of the golden files likewise.

    The files are decoded only where Pillow is installed: pixels_max_diff is None without it. An output that is not
    finite counts as a difference of 1, the most that two probabilities can differ by.
    """
    path = manifest.file("golden.npz")
    try:
        with np.load(path, allow_pickle=False) as stored:
            golden = {key: stored[key] for key in ("bytes", "offsets", "pixels", "probabilities")}
    except (OSError, ValueError, KeyError) as error:
        raise TargetError(f"cannot read {path}: {error}", REBUILD) from error
    probabilities = session.run(golden["pixels"]).probabilities
    wanted = golden["probabilities"]
    if probabilities.shape != wanted.shape:
        raise TargetError(f"{path} holds {wanted.shape} probabilities, not {probabilities.shape}", REBUILD)
    difference = float(np.nan_to_num(np.abs(probabilities - wanted), nan=1.0, posinf=1.0).max())
    tolerance = manifest.model(precision)["golden_tolerance"]
    pixels = _golden_pixels_difference(golden, manifest.size)
    return {
        "max_abs_diff": difference,
        "tolerance": tolerance,
        "ok": difference <= tolerance and (pixels is None or pixels <= manifest.golden_pixel_tolerance),
        "pixels_max_diff": pixels,
    }


def versions() -> dict[str, str]:
    """Versions of what can change a number."""
    found = {"python": platform.python_version(), "numpy": np.__version__}
    for name in ("onnxruntime", "onnxruntime-gpu", "tensorrt", "pillow"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if release := _first_line(Path("/etc/nv_tegra_release")):
        found["l4t"] = release
    if threads := os.environ.get("OMP_NUM_THREADS"):
        found["OMP_NUM_THREADS"] = threads
    return found


def _golden_pixels_difference(golden: dict[str, np.ndarray], size: int) -> int | None:
    """The largest difference between golden pixels and the golden files resized here; 255 when one is not read."""
    from .preprocess import BadImage, decode, to_pixels

    largest = 0
    for index, wanted in enumerate(golden["pixels"]):
        start, end = golden["offsets"][index : index + 2]
        try:
            pixels = to_pixels(decode(golden["bytes"][start:end].tobytes()), size)
        except ImportError:
            return None
        except BadImage:
            return 255
        largest = max(largest, int(np.abs(pixels.astype(np.int16) - wanted).max()))
    return largest


def _first_line(path: Path) -> str:
    try:
        return path.read_text(errors="replace").split("\n")[0].strip()
    except OSError:
        return ""
