"""The golden set: a few check images with the answers that are right. Does an engine give them here?

What is asked in every precision, so that a broken engine is told from digits that were lost:

    probabilities   they are near the right ones: golden_tolerance, which the export measured
    embedding       it is near this image's, and nearer to no other image's
    head            the probabilities are those that class vectors make of this embedding (head.py)

fp32 and fp16 are held to the answers of the fp32 graph. int8 rounds so much that a distance from those would say
nothing: it is held to the answers of its own graph, as onnxruntime gave them at export.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .arrays import read_npz
from .errors import TargetError
from .flaws import Flaw
from .head import FILE, read_head
from .manifest import REBUILD, Manifest
from .outside import Unfit
from .session import check_answers

MOST_BYTES = 256 << 20
OWN_ANSWERS = ("int8",)  # precisions that are held to their own graph's answers: keys "int8_probabilities", ...
# Chosen, not measured. An embedding is a unit vector: two that have nothing in common are 1.4 apart. int8's 0.3 is a
# cosine of 0.955 between two runtimes' readings of one graph.
FARTHEST = {"fp32": 1e-2, "fp16": 5e-2, "int8": 0.3}
APART = 0.1  # golden images whose embeddings are closer than this show the same, and may be taken for each other
# The head is float32 in every graph; a weakly typed TensorRT may do it in half where half is allowed.
HEAD = {"fp32": 1e-3, "fp16": 2e-2, "int8": 2e-2}


@dataclass(frozen=True, eq=False)
class Golden:
    """K images: files (bytes with offsets), pixels uint8 [K,S,S,3], the right probabilities float32 [K,C] and embedding
    float32 [K,D], which is None in a bundle of before it was kept."""

    files: np.ndarray
    offsets: np.ndarray
    pixels: np.ndarray
    probabilities: np.ndarray
    embedding: np.ndarray | None


def compare_golden(manifest: Manifest, precision: str, session: Any) -> dict[str, Any]:
    """What the session answers to the golden pixels beside what is right, and whether that is near enough (`ok`).

    max_abs_diff: of a probability, with its tolerance; embedding_max_diff: the largest distance of an embedding, with
    its limit; strangers: images whose embedding is nearer to that of another golden image; head_max_diff: of a
    probability from what the head makes of the embedding, with its limit; pixels_max_diff: of the golden files decoded
    here, None without Pillow. The embedding's figures are None in a bundle that keeps none. What is not finite counts
    as the largest difference that there can be.
    """
    if precision not in FARTHEST:
        raise TargetError(f"{manifest.path} holds a model in {precision!r}", f"Known here: {', '.join(FARTHEST)}.")
    golden = _read(manifest, precision)
    answers = session.run(golden.pixels)
    check_answers(answers, len(golden.pixels), len(manifest.labels))
    head, width = read_head(manifest), answers.embedding.shape[1]
    for name, held in ((FILE, head.vectors), ("golden.npz", golden.embedding)):
        if held is not None and held.shape[1] != width:
            wrong = f"{manifest.path / name} is of embeddings of {held.shape[1]} numbers, the model gives {width}"
            raise TargetError(wrong, REBUILD)
    made = head.probabilities(answers.embedding)
    found: dict[str, Any] = {
        "max_abs_diff": _largest(answers.probabilities - golden.probabilities, 1.0),
        "tolerance": manifest.model(precision)["golden_tolerance"],
        "embedding_max_diff": None,
        "embedding_limit": FARTHEST[precision],
        "strangers": None,
        "head_max_diff": _largest(answers.probabilities - made, 1.0),
        "head_limit": HEAD[precision],
        "pixels_max_diff": _pixels_difference(golden, manifest.size),
    }
    if golden.embedding is not None:
        found["embedding_max_diff"] = _largest(_distances(answers.embedding, golden.embedding).diagonal(), 2.0)
        found["strangers"] = _strangers(answers.embedding, golden.embedding)
    return found | {"ok": not flaws_of(found, manifest)}


def flaws_of(found: dict[str, Any], manifest: Manifest) -> list[Flaw]:
    """Why golden answers (`compare_golden`) are not right; empty where they are."""
    flaws = [
        Flaw(code, value=found[value], limit=found[limit])
        for code, value, limit in (
            ("golden", "max_abs_diff", "tolerance"),
            ("golden-embedding", "embedding_max_diff", "embedding_limit"),
            ("golden-head", "head_max_diff", "head_limit"),
        )
        if (found[value] or 0) > found[limit]
    ]
    if found["strangers"]:
        flaws.append(Flaw("golden-image", value=found["strangers"]))
    if (found["pixels_max_diff"] or 0) > manifest.golden_pixel_tolerance:
        flaws.append(Flaw("golden-pixels", value=found["pixels_max_diff"], limit=manifest.golden_pixel_tolerance))
    return flaws


def read_golden(path: Path, precision: str, size: int, classes: int) -> Golden:
    """The golden set in `path` as `precision` is held to it, of a model with so many pixels a side and classes.

    Raises Unfit for anything else than what the build writes (edgedistill/bundle/manifest.py).
    """
    stored = read_npz(path, MOST_BYTES)
    prefix = f"{precision}_" if precision in OWN_ANSWERS else ""
    kept = f"{prefix}embedding" in stored
    answers = f"{prefix}probabilities" if kept else "probabilities"
    count = len(stored["offsets"]) - 1 if "offsets" in stored and stored["offsets"].ndim else 0
    expected: dict[str, tuple[str, tuple[int | None, ...]]] = {
        "bytes": ("uint8", (None,)),
        "offsets": ("int64", (count + 1,)),
        "pixels": ("uint8", (count, size, size, 3)),
        answers: ("float32", (count, classes)),
    }
    if kept:
        expected[f"{prefix}embedding"] = ("float32", (count, None))
    for name, (dtype, shape) in expected.items():
        found = stored.get(name, np.zeros(0, bool))
        if (
            found.dtype != dtype
            or found.ndim != len(shape)
            or any(b not in (None, a) for a, b in zip(found.shape, shape))
        ):
            raise Unfit(f"holds {found.dtype} {list(found.shape)} as {name}, not {dtype} {list(shape)}")
    files, offsets = stored["bytes"], stored["offsets"]
    if count < 1 or offsets[0] < 0 or (np.diff(offsets) < 0).any() or offsets[-1] > len(files):
        raise Unfit("holds no image, or offsets that lie outside its bytes")
    return Golden(files, offsets, stored["pixels"], stored[answers], stored[f"{prefix}embedding"] if kept else None)


def _read(manifest: Manifest, precision: str) -> Golden:
    path = manifest.file("golden.npz")
    try:
        return read_golden(path, precision, manifest.size, len(manifest.labels))
    except (OSError, Unfit) as error:
        raise TargetError(f"cannot read {path}: {error}", REBUILD) from error


def _largest(differences: np.ndarray, most: float) -> float:
    return float(np.nan_to_num(np.abs(differences), nan=most, posinf=most).max())


def _distances(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """[K,D], [K,D] -> [K,K]: how far embedding i as found is from embedding j as it should be."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.linalg.norm(found[:, None].astype(np.float64) - wanted[None], axis=2)


def _strangers(found: np.ndarray, wanted: np.ndarray) -> int:
    """How many embeddings are nearer to another image's, one that shows something else, than to their own."""
    distances, between = _distances(found, wanted), _distances(wanted, wanted)
    others = np.where(between > APART, distances, np.inf)
    return int((others.min(axis=1) < distances.diagonal()).sum())


def _pixels_difference(golden: Golden, size: int) -> int | None:
    """The largest difference between golden pixels and the golden files resized here; 255 when one is not read."""
    from .preprocess import BadImage, decode, to_pixels

    largest = 0
    for index, wanted in enumerate(golden.pixels):
        start, end = golden.offsets[index : index + 2]
        try:
            pixels = to_pixels(decode(golden.files[start:end].tobytes()), size)
        except ImportError:
            return None
        except BadImage:
            return 255
        largest = max(largest, int(np.abs(pixels.astype(np.int16) - wanted).max()))
    return largest
