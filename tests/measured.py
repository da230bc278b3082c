"""A bundle's manifest, check set and results in miniature, as plain data: what a verdict is decided from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from edgedistill.bundle.checkset import CheckInfo, CheckSet

NAMES = ("bolt", "nut", "gear")
MANIFEST_SHA256 = "a" * 64
BUILD_ID = "b" * 64


def manifest() -> dict[str, Any]:
    return {
        "format": 1,
        "build_id": BUILD_ID,
        "labels": [{"name": name, "synonyms": []} for name in NAMES],
        "profile": {
            "name": "board",
            "title": "Test Board 8 GB",
            "runtime": {"prefer": ["tensorrt", "onnxruntime-cuda"]},
            "measure": {"min_queries": 400},
            "power": {"modes": ["15W", "25W"], "default": "25W", "reference": "25W"},
        },
        "budget": {"latency_p95_ms": 10.0, "memory_mb": 100.0, "agreement_min": 0.9, "accuracy_drop_max": 0.03},
        "budget_overrides": {},
        "teacher": {"id": "local-dir:teacher", "hash": "c" * 64},
        "models": [
            {"file": "models/fp32.onnx", "precision": "fp32", "bytes": 4000, "golden_tolerance": 1e-3},
            {"file": "models/fp16.onnx", "precision": "fp16", "bytes": 2000, "golden_tolerance": 2e-2},
        ],
        "not_built": [{"precision": "int8", "reason": "there are no photos to calibrate on"}],
        "files": {"models/fp32.onnx": "1" * 64, "models/fp16.onnx": "2" * 64},
    }


def check_set(images: int = 200, labelled: int = 0, teacher_wrong: int = 0) -> CheckSet:
    """`labelled` images with a true label, of which the teacher gets the last `teacher_wrong` wrong."""
    teacher_class = np.arange(images) % len(NAMES)
    labels = np.where(np.arange(images) < labelled, teacher_class, -1)
    wrong = slice(labelled - teacher_wrong, labelled)
    labels[wrong] = (labels[wrong] + 1) % len(NAMES)
    return CheckSet(
        images=np.zeros((images, 8, 8, 3), np.uint8),
        teacher=np.tile(np.array([1, 0], np.float32), (images, 1)),
        teacher_class=teacher_class,
        labels=labels,
        info=CheckInfo(images=images, source="pool split", skipped={"truncated": 1}),
    )


def answers(check: CheckSet, different: int = 0) -> list[int]:
    """The teacher's choices, but for the first `different` images."""
    chosen = check.teacher_class.copy()
    chosen[:different] = (chosen[:different] + 1) % len(NAMES)
    return chosen.tolist()


HOT = {"code": "hot", "what": "cpu", "value": 97.0, "limit": 95.0}
EMULATED = {"code": "emulated", "what": "x86", "value": None, "limit": None}
THROTTLED = {"code": "throttled", "what": "soft temperature limit", "value": None, "limit": None}


def conditions(**changed: Any) -> dict[str, Any]:
    """Those of a Jetson in the power mode it ships in, where over-current would have been told."""
    usual = {"power_mode": "25W", "gpu_max_mhz": 918, "temperature_c": 61.0, "watched": ["over-current counters"]}
    return usual | changed


def latency(p95: float | None) -> dict[str, float | None]:
    """Percentiles around this p95, whose interval reaches 2 % to either side."""
    factors = {"p50": 0.9, "p95": 1.0, "p99": 1.1, "p95_low": 0.98, "p95_high": 1.02}
    return {name: None if p95 is None else factor * p95 for name, factor in factors.items()}


def result(check: CheckSet, *, different: int = 0, precision: str = "fp16", p95: float = 5.0) -> dict[str, Any]:
    """What run.py verify writes on the board when all is well."""
    return {
        "schema": 2,
        "build_id": BUILD_ID,
        "manifest_sha256": MANIFEST_SHA256,
        "model": {
            "file": f"models/{precision}.onnx",
            "sha256": manifest()["files"][f"models/{precision}.onnx"],
            "precision": precision,
            "bytes": 2000,
        },
        "runtime": {"name": "tensorrt", "version": "10.3.0", "provider": "tensorrt", "threads": None},
        "device": {"name": "Test Board", "machine": "aarch64", "system": "Linux", "evidence": {}},
        "matches_profile": True,
        "predictions": answers(check, different),
        "golden": {"max_abs_diff": 1e-4, "tolerance": 2e-2, "ok": True},
        "latency_ms": {**latency(p95), "min": 0.8 * p95, "max": 2 * p95, "mean": p95, "queries": 1000, "batch": 1},
        "memory_mb": {"peak": 80.0, "kind": "available_drop"},
        "mode": "full",
        "runs": 1,
        "invalid": [],
        "warnings": [],
        "conditions": conditions(),
        "machine_state": {"before": {}, "during": [], "after": {}},
        "versions": {"python": "3.10.12"},
    }


def failed(precision: str = "fp16") -> dict[str, Any]:
    """What run.py verify writes of a candidate that does not run on the board."""
    whole = result(check_set(), precision=precision)
    head = ("schema", "build_id", "manifest_sha256", "model", "runtime", "device", "matches_profile", "versions")
    error = {"wrong": "the engine cannot be built", "todo": "Free some memory."}
    return {key: whole[key] for key in head} | {"failed": error}


def written(folder: Path, content: dict[str, Any], name: str = "result.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(content))
    return path
