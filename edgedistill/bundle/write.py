"""A bundle: the folder that ships. Models, the student they were made from, what to check them with, and the program
that measures them on a device that has neither edgedistill nor torch.

It is written beside its place and appears by one rename. `manifest.json` holds no time and no path: the same build
gives the same bytes. What measuring adds later (verdict.json, report.html, engines/, results/) is not listed in it.
Reading is `targets/manifest.py`'s: the same checks here and on the device.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import targets
from ..errors import EdgeDistillError, InputError
from ..export.graph import MAX_BATCH, Exports, preprocessing
from ..targets.errors import TargetError
from ..targets.manifest import read_manifest
from ..work import atomic
from .checkset import CheckSet, write_check
from .model_card import model_card

if TYPE_CHECKING:
    from ..classes.class_vectors import ClassVectors
    from ..labels import Labels
    from ..profiles import Profile

FORMAT = 1
GOLDEN_IMAGES = 8
PIXEL_TOLERANCE = 2  # of 255: what JPEG decoders may differ by
STUDENT_FILES = ("student.safetensors", "student.json")


@dataclass(frozen=True, kw_only=True)
class TeacherFacts:
    """The teacher as the manifest names it. `scale`: exp(logit_scale); `licence`: of its weights, or "unknown"."""

    id: str
    hash: str
    licence: str
    dim: int
    scale: float


@dataclass(frozen=True, kw_only=True)
class StudentFacts:
    """The student as the manifest names it. `weights`: where they started from, in words; `licence`: of those."""

    name: str
    weights: str
    licence: str


@dataclass(frozen=True, kw_only=True)
class Content:
    """Everything a bundle is made of.

    `profile` with the budgets that count; `budget_overrides` names those that a flag changed. `golden_files`: the bytes
    of the first check images' files, at most 8. `student_folder` holds student.safetensors and student.json.
    `start`, `seeds`: figures before training and of each seed, or None. `skipped`: reason -> images not used.
    """

    build_id: str
    labels: Labels
    profile: Profile
    teacher: TeacherFacts
    student: StudentFacts
    student_folder: Path
    class_vectors: ClassVectors
    exports: Exports
    check: CheckSet
    golden_files: Sequence[bytes]
    size: int
    budget_overrides: Mapping[str, Any]
    start: Mapping[str, Any] | None = None
    seeds: Sequence[Mapping[str, Any]] | None = None
    skipped: Mapping[str, int]


def check_destination(out: Path) -> None:
    """Raise InputError unless a bundle may be written to `out`: nothing there, an empty folder, or an older bundle, in
    a folder that may be written."""
    above = next(place for place in out.absolute().parents if place.exists())
    if not above.is_dir() or not os.access(above, os.W_OK | os.X_OK):
        raise InputError(f"{out} cannot be made: {above} is no folder that you may write in", "Choose another --out.")
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out} is not a folder", "Choose another --out.")
    if not out.is_dir() or not any(out.iterdir()):
        return
    try:
        read_manifest(out, check_hashes=False)
    except TargetError as error:
        raise InputError(
            f"{out} holds files, and they are not a bundle that may be replaced ({error.wrong})",
            "Choose another --out, or empty that folder yourself.",
        ) from error


def write_bundle(out: Path, content: Content) -> Path:
    """Write the bundle and return its folder. An older bundle in its place goes; an identical one stays as it is,
    with what was measured and compiled in it. Raises InputError if `out` holds anything else."""
    check_destination(out)
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    _clear_away(out)
    temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        temporary.chmod(0o755)
        _fill(temporary, content)
        if _same(temporary, out):
            return out
        if out.exists():
            older = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".old", dir=out.parent))
            out.rename(older / out.name)
            atomic.publish(temporary, out)
            shutil.rmtree(older)
        else:
            atomic.publish(temporary, out)
        return out
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise atomic.disk_full(out, _bytes_in(temporary)) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _clear_away(out: Path) -> None:
    """Undo what a write to `out` left beside it when it was killed: a moved bundle goes back, unfinished ones go."""
    ours = re.compile(rf"\.{re.escape(out.name)}\.[a-z0-9_]{{8}}\.(part|old)")  # as mkdtemp names them below
    left = [path for path in out.parent.iterdir() if ours.fullmatch(path.name) and not path.is_symlink()]
    for folder in filter(Path.is_dir, left):
        if folder.suffix == ".old" and (folder / out.name).is_dir() and not out.exists():
            (folder / out.name).rename(out)
        shutil.rmtree(folder, ignore_errors=True)


def _same(new: Path, old: Path) -> bool:
    try:
        return read_manifest(old).sha256 == read_manifest(new, check_hashes=False).sha256
    except TargetError:
        return False


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _fill(folder: Path, content: Content) -> None:
    models = folder / "models"
    models.mkdir()
    for model in content.exports.models:
        shutil.copyfile(model.path, models / f"{model.precision}.onnx")
    for name in STUDENT_FILES:
        shutil.copyfile(content.student_folder / name, folder / name)
    content.class_vectors.save(folder)
    write_check(folder / "check", content.check)
    atomic.write_bytes(folder / "golden.npz", golden(content))
    device_side = Path(targets.__file__).parent
    shutil.copyfile(device_side / "run.py", folder / "run.py")
    (folder / "targets").mkdir()
    for path in sorted(device_side.glob("*.py")):
        shutil.copyfile(path, folder / "targets" / path.name)
    (folder / "MODEL_CARD.md").write_text(model_card(content), encoding="utf-8")
    atomic.write_json(folder / "manifest.json", manifest(content, folder))


def golden(content: Content) -> bytes:
    """golden.npz: file bytes (one uint8 array and its offsets), pixels and the fp32 graph's probabilities.

    K <= 8 images, the lowest content hashes of the check set: whoever builds its own preprocessing or runtime compares
    with it. Same input, same bytes.
    """
    files = content.golden_files[:GOLDEN_IMAGES]
    count = len(files)
    probabilities = content.exports.reference["probabilities"][:count]
    if not count or len(probabilities) != count or len(content.check) < count:
        raise EdgeDistillError(
            f"{count} golden files, {len(probabilities)} reference answers",
            "Export with at least as many check images as golden files.",
        )
    buffer = io.BytesIO()
    np.savez(
        buffer,
        bytes=np.frombuffer(b"".join(files), np.uint8),
        offsets=np.cumsum([0, *(len(data) for data in files)], dtype=np.int64),
        pixels=np.ascontiguousarray(content.check.images[:count]),
        probabilities=probabilities.astype(np.float32),
    )
    return buffer.getvalue()


def manifest(content: Content, folder: Path) -> dict[str, Any]:
    """manifest.json of the files in `folder`: what was built, for which board, within which budgets, and every hash."""
    profile = content.profile
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
        "teacher": asdict(content.teacher),
        "student": asdict(content.student),
        "classes": {"weighting": content.class_vectors.weighting, "scale": content.class_vectors.scale},
        "models": [
            {
                "file": f"models/{model.precision}.onnx",
                "precision": model.precision,
                "bytes": model.bytes,
                "parity": {"max_abs_diff": model.max_abs_diff, "images": model.images},
                "golden_tolerance": model.golden_tolerance,
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
