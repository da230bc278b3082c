"""The stores of a build: what the teacher sees of the photos and of the check images, and which rows may train."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..images.duplicates import near_duplicates
from ..images.gather import Images, names_of, tell_skipped
from ..images.pixels import short_side_for
from ..images.pool import Pool
from ..images.synthetic import Made
from ..work.console import Progress
from ..work.stage import Stage, WorkFolder
from ..work.tally import Tally, counts
from .fill import TeacherPass, build_store
from .in_use import TeacherInUse
from .journal import DATA, StoreDamaged
from .row_facts import RowFacts
from .store import TeacherStore, stored_hashes

if TYPE_CHECKING:
    from .prompt_src import TunedPrompts

log = logging.getLogger(__name__)

STORE = 3  # version of the stage that makes a store; when to raise it: work/stage.py
NEAR_DUPLICATE_ALARM = 0.2  # of the pool


@dataclass(frozen=True)
class ViewPlan:
    """How often and how large the photos are looked at: views an image, the seed of their crops, the student's size,
    and mixed views an image."""

    views: int
    seed: int
    size: int
    mix: int = 0


@dataclass(frozen=True)
class Stores:
    """The teacher's features of both, and the stages they come from.

    `frozen` holds the photos as the teacher sees them without tuned prompts, row by row as `train`: the same store
    where none were tuned, else centre views alone. Whatever is compared with the check set or the text is taken there.
    """

    train: TeacherStore
    check: TeacherStore
    frozen: TeacherStore
    train_stage: Stage
    check_stage: Stage


@dataclass(frozen=True)
class Kept:
    """Rows of the train store that may train: those that are no near-duplicate of a check image, and, where --select
    was asked for, were chosen. `not_selected`: reason -> how many were not."""

    rows: np.ndarray
    near_duplicates: int
    not_selected: Mapping[str, int] = field(default_factory=dict)


def fill_stores(
    work: WorkFolder,
    images: Images,
    teacher: TeacherInUse,
    plan: ViewPlan,
    progress: Progress,
    prompts: TunedPrompts | None = None,
) -> Stores:
    """Run the teacher over every view once. After this it is not needed again.

    With tuned prompts it looks at the photos through them, and once more at their centre views as it came; the check
    images it always sees as it came.
    Raises InputError where more than half of a folder's files cannot be used.
    """
    fill = _Fill.of(work, teacher, plan, progress)
    # The centre view has no crop and so no seed: all seeds share one check store.
    centre = ViewPlan(views=1, seed=0, size=plan.size)
    train_stage, train = fill.store("store-train", images.train, plan, images.tally, prompts, images.made)
    frozen = train if prompts is None else fill.store("store-frozen", images.train, centre, images.tally)[1]
    tally = _refuse_mostly_bad("photos", images.train, train, images.tally)
    tally = images.check_tally or tally
    check_stage, check = fill.store("store-check", images.check, centre, tally)
    _refuse_mostly_bad("check images", images.check, check, tally)
    return Stores(train, check, frozen, train_stage, check_stage)


def fill_one(
    work: WorkFolder, what: str, pool: Pool, teacher: TeacherInUse, plan: ViewPlan, progress: Progress
) -> TeacherStore:
    """The teacher's features of other photos than those of a build; `what` they are names the stage and the log.

    Raises InputError where more than half of them cannot be used.
    """
    store = _Fill.of(work, teacher, plan, progress).store(f"store-{what}", pool, plan, pool.tally)[1]
    _refuse_mostly_bad(f"{what} photos", pool, store, pool.tally)
    return store


@dataclass(frozen=True)
class _Fill:
    """What all stores of a build have in common."""

    work: WorkFolder
    teacher: TeacherInUse
    dtype: str
    gpu_batch: int | None
    short_side: int
    progress: Progress

    @classmethod
    def of(cls, work: WorkFolder, teacher: TeacherInUse, plan: ViewPlan, progress: Progress) -> _Fill:
        dtype = teacher.dtype
        short_side = short_side_for(teacher.files.image_size, plan.size)
        return cls(work, teacher, dtype, teacher.gpu_batch(dtype), short_side, progress)

    def store(
        self,
        name: str,
        pool: Pool,
        plan: ViewPlan,
        tally: Tally,
        prompts: TunedPrompts | None = None,
        made: Made | None = None,
    ) -> tuple[Stage, TeacherStore]:
        """The finished stage of one store, and the store, every byte of it read once and found to be what was written;
        with what is known of images in it that were `made` from class names.

        Of a store that is damaged the leading blocks stay whose sums hold; the teacher looks at the others again.
        """
        files, compute = self.teacher.files, self.teacher.compute
        stage = self.work.stage(
            name,
            {
                "pool": pool.fingerprint,
                "teacher": files.weight_hash,
                "transform": files.transform_id,
                "dtype": self.dtype,
                "device": compute.device,
                "threads": compute.threads,
                "seed": plan.seed,
                "views": plan.views,
                "short_side": self.short_side,
                # Named only where there are any: stores from before stay valid.
                **({} if self.gpu_batch is None else {"card_batch": self.gpu_batch}),
                **({} if prompts is None else {"prompts": prompts.digest}),
                **({} if made is None else {"made": made.digest(pool.hashes)}),
                **({"mix": plan.mix} if plan.mix else {}),
            },
            version=STORE,
        )
        if stage.ready(_keep_sound_blocks):
            try:
                return stage, TeacherStore.open(stage.path)
            except StoreDamaged as error:
                stage.discard(error.wrong, repair=_keep_sound_blocks)
        teacher = self.teacher.load(self.dtype)
        teacher.free_text()
        teacher.image_prompts = None if prompts is None else prompts.image.to(teacher.device, teacher.torch_dtype)
        work = TeacherPass(pool, teacher, plan.views, plan.seed, self.short_side, self.gpu_batch, plan.mix)
        build_store(stage.begin(), work, tally=tally, progress=self.progress)
        if made is not None:
            RowFacts(*made.row_facts(stored_hashes(stage.partial))).save(stage.partial)
        stage.finish(apart=DATA.values())
        return stage, TeacherStore.open(stage.path)


def _keep_sound_blocks(folder: Path, wrong: Sequence[str]) -> None:
    """All stays: whoever fills a store compares the sums of its blocks first, and goes on behind those that hold."""


def _refuse_mostly_bad(what: str, pool: Pool, store: TeacherStore, tally: Tally) -> Tally:
    """Say what the store had to leave out; the folder's tally after it. Raises InputError as the tally does."""
    tell_skipped(what, names_of(pool, store.skipped))
    left = tally.losing(store.skipped)
    left.refuse_mostly_bad()
    return left


def training_rows(images: Images, stores: Stores) -> Kept:
    """All rows but near-duplicates of check images, such as two frames of one camera: those are left out and counted.

    Raises InputError where fewer than two rows are left.
    """
    near = near_duplicates(stores.frozen, stores.check)
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
    """Reason -> how many photos did not train: unreadable files, copies and near-copies of check images, and those that
    were not chosen."""
    found = counts(images.skipped, stores.train.skipped)
    found["the same file as a check image"] = images.copies_of_check
    found["near-duplicate of a check image"] = kept.near_duplicates
    found |= {f"not selected ({reason})": count for reason, count in kept.not_selected.items()}
    return {reason: count for reason, count in sorted(found.items()) if count}
