"""The photos of a build: what trains and what checks, set apart by content before anything looks inside them."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..work.console import Progress
from ..work.tally import Tally
from . import pool
from .synthetic import Made, made_in

if TYPE_CHECKING:
    from ..labels import Labels

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Images:
    """The photos of a build: what trains and what checks, apart by content."""

    train: pool.Pool
    check: pool.Pool
    check_labels: np.ndarray
    """int64 [M], −1 where the true class is not known."""
    source: str
    unmatched_folders: tuple[str, ...]
    copies_of_check: int
    skipped: dict[str, list[str]]
    check_skipped: dict[str, list[str]]
    tally: Tally
    check_tally: Tally | None
    """Of the folder that the check images come from; None where it is the photos' own."""
    made: Made | None = None
    """Which of them were made from class names."""
    synthetic_check: bool = False
    """Whether such images are among the check images."""


def gather(photos: Path, check: Path | None, labels: Labels, progress: Progress) -> Images:
    """Index the photos and set check images apart by content, so that none of them trains.

    Raises InputError where a folder cannot be used, or nothing is left to train on or to check with.
    """
    everything = pool.scan(photos, progress)
    found = split_off(everything) if check is None else beside(everything, check, labels, progress)
    found = told_apart(found, made_in(photos, labels), None if check is None else made_in(check, labels))
    if not len(found.train) or not len(found.check):
        raise InputError(
            f"{len(found.train)} photos to train on and {len(found.check)} to check with",
            "Give more photos in --images, or others than those in --check.",
        )
    tell_skipped("photos", found.skipped)
    tell_skipped("check images", found.check_skipped)
    return found


def split_off(everything: pool.Pool) -> Images:
    """The check images are some of the photos."""
    train_pool, check_pool = everything.split()
    unknown = np.full(len(check_pool), -1)
    skipped, tally = everything.skipped, everything.tally
    return Images(train_pool, check_pool, unknown, "pool split", (), 0, skipped, {}, tally, None)


def beside(everything: pool.Pool, folder: Path, labels: Labels, progress: Progress) -> Images:
    """The check images have a folder of their own; photos that lie there too do not train."""
    check = pool.scan_check(folder, labels, progress=progress)
    train_pool, copies = everything.without(check.pool)
    for name in check.unmatched_folders:
        log.warning("the check folder %r is no class on the list: its images count without a label", name)
    if check.left_out:
        log.info("%d check images are left out: %d are enough", check.left_out, len(check.pool))
    return Images(
        train_pool,
        check.pool,
        check.labels,
        "--check",
        check.unmatched_folders,
        copies,
        everything.skipped,
        check.pool.skipped,
        everything.tally,
        dataclasses.replace(check.pool.tally, usable=check.pool.tally.usable + check.left_out),
    )


def told_apart(images: Images, made: Made | None, made_check: Made | None) -> Images:
    """The same, with what is known of synthetic images: those of the pool, and those of a check folder."""
    known = [each.among(images.check.hashes) for each in (made, made_check) if each is not None]
    synthetic = np.any(known, axis=0) if known else np.zeros(len(images.check), bool)
    source = images.source
    if synthetic.any():
        source = "synthetic images" if synthetic.all() else "photos and synthetic images"
    return dataclasses.replace(images, made=made, synthetic_check=bool(synthetic.any()), source=source)


def rows_of(source: pool.Pool, hashes: np.ndarray) -> np.ndarray:
    """int64: the rows of `source` that these content hashes [K, 32] (sorted, all of them in it) belong to."""
    view = f"V{hashes.shape[1]}"
    return np.flatnonzero(
        np.isin(np.ascontiguousarray(source.hashes).view(view), np.ascontiguousarray(hashes).view(view)).ravel()
    )


def names_of(source: pool.Pool, skipped: dict[str, list[str]]) -> dict[str, list[str]]:
    """Reason -> file names, for content hashes (hex) that a store left out."""
    rows = {source.hashes[row].tobytes().hex(): row for row in range(len(source))} if skipped else {}
    return {reason: [source.name(rows[content]) for content in found] for reason, found in skipped.items()}


def tell_skipped(what: str, skipped: dict[str, list[str]]) -> None:
    """One line for each reason; `what` is in the plural, such as "photos"."""
    for reason, names in sorted(skipped.items()):
        counted = f"{len(names)} {what if len(names) > 1 else what.removesuffix('s')}"
        more = ", …" if len(names) > 3 else ""
        log.warning("skipped %s: %s (%s%s)", counted, reason, ", ".join(names[:3]), more)
