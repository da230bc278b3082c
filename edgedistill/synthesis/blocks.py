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
        progress.start("images", len(self.rows))
        began = None
        for begin in range(0, len(self.rows), engine.batch):
            rows = self.rows[begin : begin + engine.batch]
            if not self._seen(begin).is_file():
                started = time.perf_counter()
                written = self._block(begin, engine.images(prompts, rows, seed), look)
                if began is None:
                    began = started
                    self._foresee(written, begin, len(rows), time.perf_counter() - started)
            progress.advance(len(rows))
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

    def _foresee(self, written: int, begin: int, count: int, seconds: float) -> None:
        """Say how long the rest takes, and stop where the disk cannot hold it (twice: here and where it goes)."""
        left = len(self.rows) - begin - count
        if 2 * left * written / count > shutil.disk_usage(self.folder).free:
            raise atomic.disk_full(self.folder / "images", int(2 * left * written / count))
        if left:
            log.info("%d images are left to make: about %s", left, _span(left * seconds / count))

    def _seen(self, begin: int) -> Path:
        return self.folder / f"features-{begin:06d}.npy"


def _span(seconds: float) -> str:
    """A time in words: "40 s", "12 min", "3.5 h"."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
