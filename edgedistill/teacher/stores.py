"""The stores of a build: what the teacher sees of the photos and of the check images, and which rows may train."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..images.duplicates import near_duplicates
from ..images.gather import Images, names_of, tell_skipped
from ..images.pixels import short_side_for
from ..work.console import Progress
from ..work.stage import Stage, WorkFolder
from ..work.tally import counts
from .in_use import TeacherInUse
from .store import TeacherStore, build_store

log = logging.getLogger(__name__)

STORE = 2  # version of the stage that makes a store; when to raise it: work/stage.py
NEAR_DUPLICATE_ALARM = 0.2  # of the pool


@dataclass(frozen=True)
class ViewPlan:
    """How often and how large the photos are looked at: views an image, the seed of their crops, the student's size."""

    views: int
    seed: int
    size: int


@dataclass(frozen=True)
class Stores:
    """The teacher's features of both, and the stages they come from."""

    train: TeacherStore
    check: TeacherStore
    train_stage: Stage
    check_stage: Stage


@dataclass(frozen=True)
class Kept:
    """Rows of the train store that may train: those that are no near-duplicate of a check image."""

    rows: np.ndarray
    near_duplicates: int


def fill_stores(work: WorkFolder, images: Images, teacher: TeacherInUse, plan: ViewPlan, progress: Progress) -> Stores:
    """Run the teacher over every view once. After this it is not needed again."""
    # One centre view hangs on no seed, so every --seed reads the same check store.
    passes = {
        "train": (images.train, "photos", plan.views, plan.seed),
        "check": (images.check, "check images", 1, 0),
    }
    stages: dict[str, Stage] = {}
    stores: dict[str, TeacherStore] = {}
    tally = images.tally
    dtype = teacher.dtype()
    short_side = short_side_for(teacher.files.image_size, plan.size)
    for name, (source, what, count, seed) in passes.items():
        stage = work.stage(
            f"store-{name}",
            {
                "pool": source.fingerprint,
                "teacher": teacher.files.weight_hash,
                "transform": teacher.files.transform_id,
                "dtype": dtype,
                "device": teacher.compute.device,
                "threads": teacher.compute.threads,
                "seed": seed,
                "views": count,
                "short_side": short_side,
            },
            version=STORE,
        )
        if not stage.done:
            loaded = teacher.load(dtype)
            loaded.free_text()
            build_store(
                stage.begin(),
                source,
                loaded,
                seed=seed,
                views=count,
                short_side=short_side,
                tally=tally,
                progress=progress,
            )
            stage.finish()
        stages[name], stores[name] = stage, TeacherStore.open(stage.path)
        tell_skipped(what, names_of(source, stores[name].skipped))
        tally = tally.losing(stores[name].skipped)
        tally.refuse_mostly_bad()
        tally = images.check_tally or tally
    return Stores(stores["train"], stores["check"], stages["train"], stages["check"])


def training_rows(images: Images, stores: Stores) -> Kept:
    """Camera frames repeat: rows that nearly show a check image are left out and counted."""
    near = near_duplicates(stores.train, stores.check)
    kept = np.flatnonzero(~near)
    if near.any():
        log.info("%d photos nearly repeat a check image and do not train", near.sum())
    gone = (near.sum() + images.copies_of_check) / (len(near) + images.copies_of_check)
    if gone > NEAR_DUPLICATE_ALARM:
        log.warning(
            "%.0f %% of the photos repeat a check image: give --check photos from another place or day",
            100 * gone,
        )
    if len(kept) < 2:
        raise InputError("no photo is left to train on", "Give --check photos that are not in --images.")
    return Kept(kept, int(near.sum()))


def not_trained(images: Images, stores: Stores, kept: Kept) -> dict[str, int]:
    """Reason -> how many photos did not train: unreadable files, copies and near-copies of check images."""
    found = counts(images.skipped, stores.train.skipped)
    found["the same file as a check image"] = images.copies_of_check
    found["near-duplicate of a check image"] = kept.near_duplicates
    return {reason: count for reason, count in sorted(found.items()) if count}
