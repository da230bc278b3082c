"""The check set inside a bundle: what a device is measured on, ready-made, so that it needs no image decoder.

check/images.npy         uint8   [M, S, S, 3]   at the model's size, memory-mapped when read
check/teacher.npy        float32 [M, D]         the frozen teacher's unit embeddings, centre view
check/teacher_class.npy  int64   [M]            the class the teacher chooses, text vectors before any refinement
check/labels.npy         int64   [M]            the true class, -1 where it is not known
check/check.json                                where the images come from, what was skipped
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .. import records
from ..errors import EdgeDistillError, InputError
from ..images.pool import CHECK_LIMIT
from ..targets import outside
from ..targets.arrays import read_npy
from ..targets.result import MOST_BYTES
from ..work import atomic

ARRAYS = ("images", "teacher", "teacher_class", "labels")
FILES = (*(f"{name}.npy" for name in ARRAYS), "check.json")
UNIT = 1e-3  # how far from 1 a stored float32 norm may be


@dataclass(frozen=True, kw_only=True)
class CheckInfo:
    """check.json. `source`: "--check", "pool split", or, where the pool holds synthetic images, "synthetic images" or
    "photos and synthetic images"; `synthetic`: whether such images are among them; `skipped`: reason -> images that
    could not be used."""

    images: int
    source: str
    synthetic: bool = False
    skipped: dict[str, int] = field(default_factory=dict)
    unmatched_folders: tuple[str, ...] = ()


@dataclass(frozen=True)
class CheckSet:
    """M check images with the teacher's answers; shapes as in the module's docstring."""

    images: np.ndarray
    teacher: np.ndarray
    teacher_class: np.ndarray
    labels: np.ndarray
    info: CheckInfo

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labelled(self) -> np.ndarray:
        """bool [M]: where the true class is known."""
        return self.labels >= 0

    def figures(self, chosen: Sequence[int]) -> dict[str, Any]:
        """Agreement with the teacher and, where labels are known, accuracy of these choices for the check images."""
        predicted, known = np.array(chosen), self.labelled
        return {
            "agreement": float((predicted == self.teacher_class).mean()),
            "accuracy": float((predicted == self.labels)[known].mean()) if known.any() else None,
        }

    def flaw(self) -> str | None:
        """Why these arrays are no check set, or None. Does not touch the pixels."""
        count, dim = len(self.images), self.teacher.shape[-1] if self.teacher.ndim else 0
        side = self.images.shape[1] if self.images.ndim == 4 else 0
        expected = {
            "images": ("uint8", (count, side, side, 3)),
            "teacher": ("float32", (count, dim)),
            "teacher_class": ("int64", (count,)),
            "labels": ("int64", (count,)),
        }
        for name, (dtype, shape) in expected.items():
            array = getattr(self, name)
            if array.dtype != dtype or array.shape != shape:
                return f"{name}.npy holds {array.dtype} {list(array.shape)}, expected {dtype} {list(shape)}"
        if not 0 < count <= CHECK_LIMIT or count != self.info.images:
            return f"{count} images, check.json says {self.info.images} and the limit is {CHECK_LIMIT}"
        norms = np.linalg.norm(self.teacher, axis=1)
        if not np.isfinite(norms).all() or np.abs(norms - 1).max() > UNIT:
            return "teacher.npy holds vectors that are not of unit length"
        if self.teacher_class.min() < 0 or self.labels.min() < -1:
            return "teacher_class.npy or labels.npy has a class index that is negative"
        return None


def write_check(folder: Path, check: CheckSet) -> None:
    """Write it into `folder` (made if missing). Same arrays, same bytes. Raises EdgeDistillError if flawed."""
    flaw = check.flaw()
    if flaw:
        raise EdgeDistillError(f"the check set is flawed: {flaw}", "This is a bug in the build: please report it.")
    folder.mkdir(parents=True, exist_ok=True)
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", np.ascontiguousarray(getattr(check, name)), allow_pickle=False)
    atomic.write_json(folder / "check.json", asdict(check.info))


def read_check(folder: Path, classes: int) -> CheckSet:
    """Read it back, of a bundle of so many classes, the pixels memory-mapped. Raises InputError naming the file for
    anything unexpected."""
    try:
        arrays = {name: _array(folder, name) for name in ARRAYS}
        for name in ("teacher_class", "labels"):
            found = arrays[name]
            if found.size and found.dtype == np.int64 and (largest := int(found.max())) >= classes:
                raise outside.Unfit(f"{name}.npy names class {largest}, the bundle has {classes}, counted from 0")
        info = records.read(CheckInfo, _info(folder), "check.json")
        check = CheckSet(info=info, **arrays)
        flaw = check.flaw()
    except InputError as error:
        flaw = error.wrong
    except (OSError, outside.Unfit) as error:
        flaw = str(error)
    if flaw:
        raise InputError(
            f"{folder} is not a readable check set: {flaw}",
            "Build the bundle again, or copy it again from where it was built.",
        )
    return check


def _array(folder: Path, name: str) -> np.ndarray:
    try:
        return read_npy(folder / f"{name}.npy", MOST_BYTES, mapped=name == "images")
    except outside.Unfit as error:
        raise outside.Unfit(f"{name}.npy {error}") from error


def _info(folder: Path) -> dict[str, Any]:
    try:
        return outside.read_object(folder / "check.json")
    except outside.Unfit as error:
        raise outside.Unfit(f"check.json {error}") from error
