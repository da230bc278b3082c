"""A folder of images that were generated elsewhere, in class folders: they pass the same filter as our own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import InputError
from ..images.gather import tell_skipped
from ..images.pool import Pool, scan_check
from ..labels import Labels
from ..targets.preprocess import BadImage, decode, to_pixels
from ..work.console import Progress
from .candidates import one_hot
from .engine import Source
from .pace import Stepped, untold
from .prompts import Prompts

SIZE = 256  # pixels a side where no other is asked for: what the default teachers and students see is below it
LIMIT = 1_000_000  # images


class FolderEngine:
    """Row i of the prompts is image i of the pool: its centre square, resized. Nothing is made."""

    name = "folder"
    batch = 64

    def __init__(self, pool: Pool, size: int) -> None:
        self._pool, self._size = pool, size

    def images(self, prompts: Prompts, rows: np.ndarray, seed: int, stepped: Stepped = untold) -> np.ndarray:
        """uint8 [len(rows), S, S, 3]; black where a file cannot be decoded. `prompts` and `seed` change nothing."""
        found = np.zeros((len(rows), self._size, self._size, 3), np.uint8)
        for place, row in enumerate(rows):
            try:
                found[place] = to_pixels(decode(self._pool.read(int(row))), self._size)
            except BadImage:
                continue
        return found


@dataclass(frozen=True, eq=False)
class Generated:
    """Images from elsewhere, and int64 [N]: the class that the folder of each names."""

    pool: Pool
    classes: np.ndarray

    def source(self, size: int | None) -> Source:
        side = size or SIZE
        return Source(
            identity={"engine": "folder", "pool": self.pool.fingerprint, "size": side},
            facts={"engine": "folder", "licence": "that of the images in the folder"},
            open=lambda: FolderEngine(self.pool, side),
        )

    def prompts(self, class_vectors: np.ndarray) -> Prompts:
        """What they are said to show; class_vectors: float32 [C,D], unit rows."""
        return Prompts(
            texts=tuple(self.pool.name(row) for row in range(len(self.pool))),
            classes=self.classes,
            targets=class_vectors[self.classes],
            shares=one_hot(self.classes, len(class_vectors)),
            style=("",) * len(self.pool),
            has_words=False,
        )


def generated_in(folder: Path, labels: Labels, progress: Progress) -> Generated:
    """The images in the sub-folders that bear a class name or a synonym.

    Raises InputError where the folder cannot be used, or no image has a class.
    """
    found = scan_check(folder, labels, limit=LIMIT, progress=progress)
    tell_skipped("generated images", found.pool.skipped)
    known = found.labels >= 0
    if not known.any():
        raise InputError(
            f"no generated image in {folder} has a class",
            f"Put the images of each class into a folder with its name, such as {labels.names[0]!r}.",
        )
    return Generated(found.pool.subset(known), found.labels[known])
