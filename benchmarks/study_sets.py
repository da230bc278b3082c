"""The sets of the study: laid out, looked at by the teacher once, and read by every run from there.

What a run needs lies in one folder a set: where the product's own store is, the prompts' vectors, the rows that train,
and the check photos with the frozen teacher's features and the true labels. Labels are read for scoring alone.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from edgedistill.classes.class_vectors import ClassVectors
from edgedistill.classes.stages import fitted
from edgedistill.classes.text_bank import TextBank
from edgedistill.line import at_work
from edgedistill.settings import BuildSettings
from edgedistill.teacher.store import TeacherStore
from edgedistill.work import atomic

TEACHER, START = "local-dir:examples/teacher", Path("examples/start")
EXAMPLE = "parts"
VIEWS, MOST_VIEWS = 8, 16
DEVELOPMENT = ("trashnet", "pacs_cartoon")
"""The sets that choices are made on."""


@dataclass(frozen=True, eq=False)
class Set:
    """One set, as a run sees it. `check_pixels` uint8 [M,S,S,3], `check_features` float32 [M,D], `labels` int64 [M]."""

    name: str
    store: TeacherStore
    rows: np.ndarray
    bank: TextBank
    mean_feature: np.ndarray | None
    teacher_hash: str
    check_pixels: np.ndarray
    check_features: np.ndarray
    labels: np.ndarray

    def classes(self, weighting: str, refinement: str = "none") -> ClassVectors:
        """The class vectors of these prompt weights, refined, both found on the rows that train."""
        store = self.store.first_views(VIEWS)
        return fitted(self.bank, weighting, refinement, store, self.rows, self.mean_feature, accuracy_decides=True)

    @cached_property
    def teacher_classes(self) -> np.ndarray:
        """int64 [M]: what the frozen teacher chooses, centre view, by its text vectors as the default weighs them."""
        return (self.check_features @ self.classes("zero-shot").text.T).argmax(axis=1)


def prepare(name: str, photos: Path, size: int, work: Path, mixed: bool = False) -> Path:
    """The folder of the set at this size, made now or before: text, pool, store and check set of the product.

    `mixed`: with as many mixed views an image as plain ones.
    """
    folder = work / "sets" / f"{name}-{size}{'-mixed' * mixed}"
    if (folder / "set.json").is_file():
        return folder
    settings = BuildSettings(
        profile="cpu",
        classes=photos / "labels.txt",
        images=photos / "pool",
        check=photos / "check",
        teacher=TEACHER,
        student_weights=str(START),
        input_size=size,
        views=MOST_VIEWS if name in DEVELOPMENT and not mixed else VIEWS,
        mix=VIEWS if mixed else 0,
        teacher_dtype="float32",
        student_dtype="float32",
        train_on="cpu",
        threads=1,
        work=work / "stages",
        out=work / "none",
    )
    with at_work(settings) as line:
        bank = line.text()
        images = line.gather()
        stores = line.store(images)
        line.free_teacher()
        kept = line.training_rows(images, stores)
        check = line.check_set(images, stores, line.classes(bank, images, stores, kept))
        files = line.teacher.files
    folder.mkdir(parents=True, exist_ok=True)
    bank.save(folder)
    arrays = {"rows": kept.rows, "check_pixels": check.images, "check_features": check.teacher, "labels": check.labels}
    if files.mean_feature is not None:
        arrays["mean_feature"] = files.mean_feature
    np.savez(folder / "arrays.npz", **arrays)
    about = {"name": name, "store": str(stores.train_stage.path.resolve()), "teacher": files.weight_hash}
    atomic.write_json(folder / "set.json", about)
    return folder


def read(folder: Path) -> Set:
    """What `prepare` left."""
    about = json.loads((folder / "set.json").read_text(encoding="utf-8"))
    arrays = np.load(folder / "arrays.npz")
    return Set(
        name=about["name"],
        store=TeacherStore.open(Path(about["store"]), verify=False),
        rows=arrays["rows"],
        bank=TextBank.load(folder),
        mean_feature=arrays.get("mean_feature"),
        teacher_hash=about["teacher"],
        check_pixels=arrays["check_pixels"],
        check_features=arrays["check_features"],
        labels=arrays["labels"],
    )
