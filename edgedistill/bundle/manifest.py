"""manifest.json and golden.npz: what a device checks a bundle against."""

from __future__ import annotations

import io
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import EdgeDistillError
from ..export.graph import MAX_BATCH, preprocessing
from ..targets.golden import OWN_ANSWERS
from ..work import atomic
from .content import Content

FORMAT = 1
GOLDEN_IMAGES = 8
PIXEL_TOLERANCE = 2  # of 255: what JPEG decoders may differ by


def golden(content: Content) -> bytes:
    """golden.npz: file bytes (one uint8 array and its offsets), pixels, the fp32 graph's probabilities and embedding,
    and int8's own, where there is one (`int8_probabilities`, `int8_embedding`).

    K <= 8 images, the lowest content hashes of the check set: whoever builds its own preprocessing or runtime compares
    with it. Same input, same bytes.
    """
    files = content.golden_files[:GOLDEN_IMAGES]
    count = len(files)
    answers = {name: values[:count] for name, values in content.exports.reference.items()}
    probabilities = answers["probabilities"]
    if not count or len(probabilities) != count or len(content.check) < count:
        raise EdgeDistillError(
            f"{count} golden files, {len(probabilities)} reference answers",
            "Export with at least as many check images as golden files.",
        )
    arrays: dict[str, Any] = {
        "bytes": np.frombuffer(b"".join(files), np.uint8),
        "offsets": np.cumsum([0, *(len(data) for data in files)], dtype=np.int64),
        "pixels": np.ascontiguousarray(content.check.images[:count]),
        "probabilities": probabilities.astype(np.float32),
        "embedding": answers["embedding"].astype(np.float32),
    }
    for precision in OWN_ANSWERS:
        if own := content.exports.answers.get(precision):
            for name in ("probabilities", "embedding"):
                arrays[f"{precision}_{name}"] = own[name][:count].astype(np.float32)
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def manifest(content: Content, folder: Path) -> dict[str, Any]:
    """manifest.json of the files in `folder`: what was built, for which board, within which budgets, and every hash."""
    profile, vectors = content.profile, content.class_vectors
    dynamic = not profile.model.static_shape
    return {
        "format": FORMAT,
        "build_id": content.build_id,
        "labels": [{"name": label.name, "synonyms": list(label.synonyms)} for label in content.labels.entries],
        "preprocessing": preprocessing(content.size),
        "batch": {"min": 1, "max": MAX_BATCH if dynamic else 1},
        "profile": profile.to_json(),
        "budget": asdict(profile.budget),
        "budget_overrides": dict(content.budget_overrides),
        "forced": content.forced,
        "teacher": asdict(content.teacher),
        "student": asdict(content.student),
        "classes": {
            "weighting": vectors.weighting,
            "refinement": vectors.refinement,
            "scale": vectors.scale,
            **({"few_shot": vectors.few_shot, "few_shot_tune": vectors.few_shot_tune} if vectors.few_shot else {}),
        },
        "models": [
            {
                "file": f"models/{model.precision}.onnx",
                "precision": model.precision,
                "bytes": model.bytes,
                "parity": {"max_abs_diff": model.max_abs_diff, "images": model.images},
                "golden_tolerance": model.golden_tolerance,
                **({"int8": asdict(model.int8)} if model.int8 else {}),
            }
            for model in content.exports.models
        ],
        "not_built": [{"precision": name, "reason": reason} for name, reason in content.exports.not_built.items()],
        "golden": {"images": min(len(content.golden_files), GOLDEN_IMAGES), "pixel_tolerance": PIXEL_TOLERANCE},
        "start": dict(content.start) if content.start else None,
        "seeds": [dict(row) for row in content.seeds] if content.seeds else None,
        "skipped": dict(content.skipped),
        "files": {
            path.relative_to(folder).as_posix(): atomic.sha256_file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name != "manifest.json"
        },
    }
