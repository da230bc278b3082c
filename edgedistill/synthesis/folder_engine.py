"""A folder of images that were generated elsewhere, in class folders: they pass the same filter as our own."""

from __future__ import annotations

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


def from_folder(
    folder: Path, labels: Labels, class_vectors: np.ndarray, size: int | None, progress: Progress
) -> tuple[Source, Prompts]:
    """The images in the sub-folders that bear a class name or a synonym, and what they are said to show.

    class_vectors: float32 [C,D], unit rows. Raises InputError where the folder cannot be used, or no image has a class.
    """
    found = scan_check(folder, labels, limit=LIMIT, progress=progress)
    tell_skipped("generated images", found.pool.skipped)
    known = found.labels >= 0
    if not known.any():
        raise InputError(
            f"no generated image in {folder} has a class",
            f"Put the images of each class into a folder with its name, such as {labels.names[0]!r}.",
        )
    pool, classes = found.pool.subset(known), found.labels[known]
    side = size or SIZE
    source = Source(
        identity={"engine": "folder", "pool": pool.fingerprint, "size": side},
        facts={"engine": "folder", "licence": "that of the images in the folder"},
        open=lambda: FolderEngine(pool, side),
    )
    return source, _said(pool, classes, class_vectors)


def _said(pool: Pool, classes: np.ndarray, class_vectors: np.ndarray) -> Prompts:
    return Prompts(
        texts=tuple(pool.name(row) for row in range(len(pool))),
        classes=classes,
        targets=class_vectors[classes],
        shares=one_hot(classes, len(class_vectors)),
        style=("",) * len(pool),
        has_words=False,
    )
