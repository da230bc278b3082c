"""The teacher store: the frozen teacher's features of every view of every photo, and the pixels it looked at.

One pass over the pool (fill.py) decodes each image once and keeps, beside row_facts.safetensors (row_facts.py):

    features.f16   little-endian float16 [N, V + M, D]: unit features; view 0 through the teacher's own preprocessing,
                   the last M of mixed views (images/mixes.py)
    pixels.u8      RGB, ragged: what training crops from (pixels.py)
    images.bin     one record an image (`RECORD`): content hash, difference hash, place and size of its pixels
    store.jsonl    first line: what the store was made from; then one line a block; last line: the end (journal.py)

After this pass the teacher is not needed again: every method, prompt set and class list reads this store.

Features are kept, not probabilities; they are normalised again after reading, since float16 rounds. An image whose
decoding fails is left out and named in `skipped`; file names are never seen here.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ..images.mixes import Mixing
from ..images.pixels import PixelCache
from .journal import DATA, JOURNAL, RECORD, Journal, damaged, mapped
from .row_facts import RowFacts
from .unit import unit_float32


def stored_hashes(folder: Path) -> np.ndarray:
    """uint8 [N, 32]: the content hashes of a store's images, in its order; the store need not be finished."""
    return np.ascontiguousarray(np.fromfile(folder / DATA["images"], RECORD)["hash"])


class TeacherStore:
    """A finished store, memory-mapped: N images, V views and M mixed ones behind them, D dimensions.

    hashes   uint8 [N, 32], sorted: content hashes of the images in it
    dhash    uint64 [N]: difference hashes
    pixels   PixelCache over the same rows
    skipped  reason -> content hashes (hex) of pool images that could not be decoded
    inputs   what the store was made from
    plain_views  V: views from it on are mixed
    facts    RowFacts, or None: every row counts alike and was made to show nothing (row_facts.py)
    """

    def __init__(self, folder: Path, journal: Journal) -> None:
        self.inputs = journal.inputs
        self.skipped = journal.skipped()
        records = np.fromfile(folder / DATA["images"], RECORD)
        self.hashes = np.ascontiguousarray(records["hash"])
        self.dhash = np.ascontiguousarray(records["dhash"])
        self.facts = RowFacts.read(folder, len(records))
        self.plain_views = int(journal.inputs["views"])
        mix = journal.inputs.get("mix", 0)
        shape = (len(records), self.plain_views + mix, journal.inputs["dim"])
        self._features = mapped(folder / DATA["features"]).view("<f2").reshape(shape)
        self.pixels = PixelCache(
            mapped(folder / DATA["pixels"]),
            np.ascontiguousarray(records["offset"]),
            np.ascontiguousarray(records["width"]),
            np.ascontiguousarray(records["height"]),
            self.hashes,
            journal.inputs["seed"],
            Mixing.of_blocks(self.plain_views, [block["images"] for block in journal.blocks]) if mix else None,
        )

    @classmethod
    def open(cls, folder: Path, verify: bool = True) -> TeacherStore:
        """Open a finished store; `verify` reads every byte once and compares the sums. Raises StoreDamaged."""
        journal = Journal.read(folder)
        if journal is None or not journal.ended:
            raise damaged(folder / JOURNAL, "the store is not whole")
        for kind, name in DATA.items():
            path = folder / name
            size, expected = path.stat().st_size if path.is_file() else 0, journal.sizes()[kind]
            if size != expected:
                raise damaged(path, f"{size} bytes instead of {expected}")
        if verify:
            sound, where = journal.sound_blocks(folder)
            if where:
                raise damaged(where, f"the checksum of block {sound} is another one")
        return cls(folder, journal)

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def views(self) -> int:
        """V + M: every number below it names a view."""
        return int(self._features.shape[1])

    @property
    def dim(self) -> int:
        """D."""
        return int(self._features.shape[2])

    def first_views(self, count: int) -> TeacherStore:
        """This store as if it had been made with so many plain views an image and no mixed ones."""
        narrow = copy.copy(self)
        narrow.plain_views = min(count, self.plain_views)
        narrow._features = self._features[:, : narrow.plain_views]
        return narrow

    @property
    def stored_features(self) -> np.ndarray:
        """float16 [N, V + M, D], memory-mapped: the features as they are kept, unit once they are normalised again."""
        return self._features

    def features(self, rows: np.ndarray, views: np.ndarray) -> np.ndarray:
        """float32 [n, D], unit: the teacher's feature of view `views[k]` of image `rows[k]`."""
        return unit_float32(self._features[rows, views])

    def all_views(self, rows: np.ndarray) -> np.ndarray:
        """float32 [n, V, D], unit: every view of each image but the mixed ones."""
        return unit_float32(self._features[rows, : self.plain_views])

    def centre(self, rows: np.ndarray | None = None) -> np.ndarray:
        """float32 [n, D], unit: view 0 of these images, or of all."""
        return unit_float32(self._features[:, 0] if rows is None else self._features[rows, 0])

    def centre_views(self, rows: np.ndarray) -> CentreViews:
        """The same as `centre(rows)`, read only where it is sliced."""
        return CentreViews(self, rows)

    def mean_views(self, rows: np.ndarray, chunk: int = 4096) -> np.ndarray:
        """float32 [n, D], unit: of each image, the mean over its views."""
        parts = [rows[start : start + chunk] for start in range(0, len(rows), chunk)]
        return np.concatenate([unit_float32(self.all_views(part).mean(axis=1)) for part in parts])

    def view_targets(self, rows: np.ndarray, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(u, u_mean), float32 [n, D] each: the feature of the student's own view, and of the mean over views.

        The mean is that of the V views that show the image alone. A mixed view shows another one, too: its mean is its
        own feature.

        The policy `match` takes the first, `mean` the second, `blend` both (methods/ decides).
        """
        every = self.all_views(rows)
        mean = unit_float32(every.mean(axis=1))
        if self.views == self.plain_views:
            return every[np.arange(len(every)), views], mean
        own = self.features(rows, views)
        return own, np.where((views >= self.plain_views)[:, None], own, mean)

    def mean_feature(self, rows: np.ndarray | None = None, chunk: int = 4096) -> np.ndarray:
        """float32 [D], not normalised: the mean centre-view feature of the pool, or of these rows."""
        rows = np.arange(len(self)) if rows is None else rows
        total = np.zeros(self.dim, np.float64)
        for start in range(0, len(rows), chunk):
            total += self.centre(rows[start : start + chunk]).sum(axis=0, dtype=np.float64)
        return (total / len(rows)).astype(np.float32)


class FeatureRows(Protocol):
    """[N, D] that can be read by a slice or by int64 row numbers: an array, or what stands for one on disk."""

    def __len__(self) -> int: ...
    def __getitem__(self, rows: slice | np.ndarray, /) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class CentreViews:
    """View 0 of these rows of a store, [n, D]; a slice of it is a float32 array with unit rows."""

    store: TeacherStore
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice | np.ndarray) -> np.ndarray:
        return self.store.centre(self.rows[part])
