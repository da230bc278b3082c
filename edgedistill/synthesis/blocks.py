"""Images made block by block into a folder: a killed synthesis goes on after the last whole block.

    000012.png           the image of row 12 of the prompts; a row that the engine has no image for has none
    features-000000.npy  float32 [n, D]: what the labelling teacher sees in a block's images; there once these are

A block is a batch of the engine, so that its images do not depend on where a run was interrupted.
"""

from __future__ import annotations

import io
import logging
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..targets.arrays import read_npy
from ..work import atomic
from ..work.console import Progress
from ..work.seal import SUMS
from .engine import Engine
from .pace import Pace
from .prompts import Prompts

MOST_BYTES = 64 << 20  # of the features of a block

log = logging.getLogger(__name__)

Look = Callable[[np.ndarray], np.ndarray]
"""uint8 [n,S,S,3] -> float32 [n,D], unit rows: a teacher's centre views."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """The images of these `rows` (int64 [N]) of prompts in `folder`, finished or not."""

    folder: Path
    rows: np.ndarray

    def image(self, row: int) -> Path:
        return self.folder / f"{row:06d}.png"

    def features(self) -> np.ndarray:
        """float32 [N,D]; a row of zeros for an image that there is not."""
        parts, begin = [], 0
        while begin < len(self.rows):
            parts.append(read_npy(self._seen(begin), MOST_BYTES))
            begin += len(parts[-1])
        return np.concatenate(parts)

    def drop(self, wrong: Sequence[str]) -> None:
        """Take away the blocks that these files (names in `folder`) belong to, all of them where the sums themselves
        are gone; `make` makes them again."""
        if SUMS in wrong:
            wrong = [path.name for path in self.folder.iterdir()]
        begins = np.array(sorted(int(path.stem.rpartition("-")[2]) for path in self.folder.glob("features-*.npy")))
        row_of = {self.image(int(row)).name: index for index, row in enumerate(self.rows)}
        for name in wrong:
            if name in row_of and (before := begins[begins <= row_of[name]]).size:
                self._seen(int(before[-1])).unlink(missing_ok=True)
            (self.folder / name).unlink(missing_ok=True)

    def make(self, engine: Engine, prompts: Prompts, seed: int, look: Look, progress: Progress) -> None:
        """What is not there yet. Raises InputError where the disk is too small, foreseen after the first block."""
        begins = range(0, len(self.rows), engine.batch)
        sizes = {begin: len(self.rows[begin : begin + engine.batch]) for begin in begins}
        left = sum(size for begin, size in sizes.items() if not self._seen(begin).is_file())
        pace = Pace("images to make", left, progress)
        progress.start("images", len(self.rows))
        first = True
        for begin, size in sizes.items():
            pace.begin(size)
            if not self._seen(begin).is_file():
                started = time.perf_counter()
                images = engine.images(prompts, self.rows[begin : begin + size], seed, pace.stepped)
                written = self._block(begin, images, look)
                left -= size
                if first:
                    self._foresee(left, written / size)
                    pace.first_block(time.perf_counter() - started, left)
                first = False
            pace.end()
        progress.done()

    def _block(self, begin: int, images: np.ndarray, look: Look) -> int:
        """Write the images, then what the teacher sees; the bytes that were written."""
        there = images.any(axis=(1, 2, 3))
        written = 0
        for row, image in zip(self.rows[begin : begin + len(images)][there], images[there]):
            file = io.BytesIO()
            Image.fromarray(image).save(file, "PNG")
            atomic.write_bytes(self.image(int(row)), file.getvalue())
            written += file.tell()
        features = look(images)
        features[~there] = 0
        file = io.BytesIO()
        np.save(file, features.astype(np.float32), allow_pickle=False)
        atomic.write_bytes(self._seen(begin), file.getvalue())
        return written + file.tell()

    def _foresee(self, left: int, each: float) -> None:
        """Stop where the disk cannot hold `left` images of `each` bytes: twice, here and where they go."""
        if 2 * left * each > shutil.disk_usage(self.folder).free:
            raise atomic.disk_full(self.folder / "images", int(2 * left * each))

    def _seen(self, begin: int) -> Path:
        return self.folder / f"features-{begin:06d}.npy"
