"""A few labelled photos in class folders, to tune a teacher with: the one place where a label may teach."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..work.console import Progress
from .gather import tell_skipped
from .pool import Pool, scan_check

if TYPE_CHECKING:
    from ..labels import Labels

log = logging.getLogger(__name__)

LIMIT = 100_000  # photos: more are no few shots


@dataclass(frozen=True)
class FewShot:
    """Photos whose class is known: `labels` int64 [K] of the rows of `pool`."""

    pool: Pool
    labels: np.ndarray


def gather_few_shot(folder: Path, labels: Labels, check: Pool, progress: Progress) -> FewShot:
    """The photos of the sub-folders that bear a class name or a synonym; others are left out, and said.

    Raises InputError where none is left, and where a photo is byte for byte one of `check`: what measures may not
    teach.
    """
    found = scan_check(folder, labels, limit=LIMIT, progress=progress)
    tell_skipped("few-shot photos", found.pool.skipped)
    known = found.labels >= 0
    if not known.all():
        log.warning("%d few-shot photos lie in no folder of a class, or in two: they are left out", (~known).sum())
    shots = FewShot(found.pool.subset(known), found.labels[known])
    if not len(shots.pool):
        raise InputError(
            f"no few-shot photo in {folder} has a class",
            "Put a few photos of each class into a folder with the name of that class.",
        )
    apart, copies = shots.pool.without(check)
    if copies:
        kept = {content.tobytes() for content in apart.hashes}
        row = next(row for row in range(len(shots.pool)) if shots.pool.hashes[row].tobytes() not in kept)
        raise InputError(
            f"the few-shot photo {folder / shots.pool.name(row)} is also a check photo"
            + (f", and {copies - 1} more are" if copies > 1 else ""),
            "Take it out of one of the two: a check on what was taught measures nothing.",
        )
    return shots
