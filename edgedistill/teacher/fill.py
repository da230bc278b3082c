"""The teacher's one pass over the pool: each image is decoded once, and a store is filled block by block.

The pool is worked through in its order, by content hash, in blocks of 64 images, and the teacher always sees the same
batches, whatever the number of decoding threads. Mixed views come last in a block, whose images they are blended of.
A block is a shard of the three data files: it exists when its line, with its SHA-256 sums, stands in store.jsonl. A
killed pass goes on after the last block whose sums hold, so a resumed store equals an unbroken one, on a CPU byte for
byte; nothing needs an fsync on the way, because a sum tells a torn write. What a GPU does otherwise stands in
gpu_pass.py: without mixed views its batches need not end where blocks do.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import shutil
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ..images.crops import write_crop
from ..images.pixels import PixelCache, cached_size
from ..images.views import view_box
from ..targets.cores import physical_cores
from ..targets.preprocess import BadImage
from ..work import atomic
from ..work.console import SILENT, Progress
from ..work.tally import Tally
from . import decoders
from .decoding import Preparation, Prepared
from .gpu_pass import GpuEncoder, GpuPass
from .journal import FORMAT, JOURNAL, RECORD, Journal
from .shards import Shards

BLOCK_IMAGES = 64
BATCH_VIEWS = 64  # a ViT-B/32 on two cores gains nothing above this, and 64 crops of 224 px are 10 MB


class ImageTeacher(Protocol):
    """What the pass needs of a teacher (tower.py)."""

    id: str
    dim: int
    image_size: int

    def centre(self, image: Image.Image) -> np.ndarray: ...  # uint8 [S, S, 3]
    def encode_images(self, images: np.ndarray) -> np.ndarray: ...  # uint8 [n, S, S, 3] -> float32 [n, D], unit


@dataclass(frozen=True, eq=False)
class TeacherPass:
    """What a store is made from: which images, which teacher, and how it looks at each of them.

    views       V >= 1; view 0 is the centre view, so a check set takes V = 1
    seed        of the other views' crops
    short_side  of the cached pixels; `pixels.short_side_for(teacher size, student size)`
    gpu_batch   views that a GPU takes at once (gpu_pass.best_batch); then photos are decoded by processes and crops are
                cut there. None: a CPU, which decodes and cuts in threads
    mix         M, mixed views of each image behind the others (images/mixes.py)
    """

    pool: decoders.ImageSource
    teacher: ImageTeacher
    views: int
    seed: int
    short_side: int
    gpu_batch: int | None = None
    mix: int = 0

    def inputs(self) -> dict[str, Any]:
        """The journal's first line: all that the store's bytes depend on."""
        return {
            "format": FORMAT,
            "pool": hashlib.sha256(np.ascontiguousarray(self.pool.hashes).tobytes()).hexdigest(),
            "teacher": self.teacher.id,
            "dim": self.teacher.dim,
            "teacher_size": self.teacher.image_size,
            "views": self.views,
            "seed": self.seed,
            "short_side": self.short_side,
            **({"mix": self.mix} if self.mix else {}),
        }

    def bytes_needed(self, first: int) -> int:
        """About how much the images from row `first` on take on the disk, all files together."""
        per_image = self._bytes_of_pixels(first) + RECORD.itemsize + (self.views + self.mix) * self.teacher.dim * 2
        return (len(self.pool) - first) * per_image

    def _bytes_of_pixels(self, first: int) -> int:
        """Mean bytes of cached pixels, from the headers of 32 images spread over what is left to do."""
        sizes, total = [], len(self.pool)
        for row in np.unique(np.linspace(first, total - 1, 32, dtype=np.int64)) if first < total else ():
            with contextlib.suppress(Exception), Image.open(BytesIO(self.pool.read(int(row)))) as image:
                width, height = cached_size(image.width, image.height, self.short_side)
                sizes.append(3 * width * height)
        return sum(sizes) // len(sizes) if sizes else 0

    @property
    def preparation(self) -> Preparation:
        """What happens to each file before the teacher sees it."""
        return Preparation(self.teacher.centre, self.short_side)

    def look(self, row: int) -> Looked:
        """Image `row` and its views but the mixed ones, uint8 [V, S, S, 3]; runs in the decoding threads."""
        image = self.preparation(self.pool.read(row))
        if isinstance(image, BadImage):
            return image
        size, pixels = self.teacher.image_size, image.pixels
        content_hash = self.pool.hashes[row].tobytes()
        views = np.empty((self.views, size, size, 3), np.uint8)
        views[0] = image.centre
        for view in range(1, self.views):
            write_crop(pixels, view_box(self.seed, content_hash, view, pixels.shape[1], pixels.shape[0]), views[view])
        return image, views


Looked = tuple[Prepared, np.ndarray] | BadImage
"""An image and its views, or why it is none."""


def build_store(
    folder: Path,
    work: TeacherPass,
    *,
    tally: Tally | None = None,
    workers: int | None = None,
    progress: Progress = SILENT,
) -> None:
    """Run the teacher over every view of every image, into `folder`; go on where a killed pass stopped.

    tally    of the folder that the pool comes from, what was skipped there before; all of it counts as usable if None
    workers  decoding threads, for a GPU processes; by default by the number of cores; the result does not depend on it

    Raises InputError when the disk is too small (before the pass where it can be foreseen) or when more than half of
    the folder's files cannot be used.
    """
    journal = Journal.resume(folder, work.inputs())
    if journal.ended:
        return
    total, done = len(work.pool), len(journal.blocks) * BLOCK_IMAGES
    tally = tally or Tally("the pool", total)
    if work.bytes_needed(done) > shutil.disk_usage(folder).free:
        raise atomic.disk_full(folder / JOURNAL, work.bytes_needed(done))

    progress.start("teacher", total)
    progress.advance(min(done, total))
    try:
        with Shards(folder, journal) as shards:
            fill = _by_cpu if work.gpu_batch is None else _by_gpu
            fill(work, shards, _RemainingRows(range(done, total), tally, journal, workers, progress))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            left = work.bytes_needed(len(journal.blocks) * BLOCK_IMAGES)
            raise atomic.disk_full(folder / JOURNAL, left) from error
        raise
    journal.end()
    progress.done()


@dataclass(frozen=True, eq=False)
class _RemainingRows:
    """What is left of a pass: these rows."""

    rows: range
    tally: Tally
    journal: Journal
    workers: int | None
    progress: Progress

    def check(self) -> None:
        """After each block. Raises InputError when more than half of the folder's files cannot be used."""
        self.tally.losing(self.journal.skipped()).refuse_mostly_bad()


def _by_gpu(work: TeacherPass, shards: Shards, rest: _RemainingRows) -> None:
    part = work.gpu_batch if work.mix else None
    encoder = GpuEncoder(work.teacher, work.views, work.seed, work.mix, part)  # type: ignore[arg-type]  # it has a GPU
    images = decoders.decoded(work.pool, rest.rows, work.preparation, rest.workers)
    batch_images = None if work.mix else max(1, (work.gpu_batch or 1) // work.views)
    with contextlib.closing(images):
        GpuPass(shards, work.pool.hashes, BLOCK_IMAGES, rest.progress.advance, rest.check).run(
            rest.rows, images, encoder, batch_images
        )


def _by_cpu(work: TeacherPass, shards: Shards, rest: _RemainingRows) -> None:
    with contextlib.closing(_in_order(work, rest.rows, rest.workers)) as images:
        for start in range(rest.rows.start, rest.rows.stop, BLOCK_IMAGES):
            _fill(shards, images, work.pool.hashes[start : start + BLOCK_IMAGES], work, rest)
            rest.check()


def _in_order(work: TeacherPass, rows: range, workers: int | None) -> Generator[Looked, None, None]:
    """Prepared images in the order of `rows`, made by threads that run at most two batches ahead."""
    ahead = 2 * max(1, BATCH_VIEWS // work.views)
    waiting: deque[Future[Looked]] = deque()
    with ThreadPoolExecutor(workers or physical_cores(), thread_name_prefix="decode") as threads:
        try:
            for row in rows:
                waiting.append(threads.submit(work.look, row))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(cancel_futures=True)


def _fill(shard: Shards, images: Iterator[Looked], hashes: np.ndarray, work: TeacherPass, rest: _RemainingRows) -> None:
    """Take one block's images, run the teacher over them in batches of whole images, and append what comes out.

    Where there are mixed views, features wait for the end of the block: before it, not every partner is there.
    """
    teacher, waiting = work.teacher, list[np.ndarray]()
    good, plain = list[tuple[np.ndarray, Prepared]](), list[np.ndarray]()

    def encode() -> None:
        features = np.asarray(teacher.encode_images(np.concatenate(waiting))).reshape(len(waiting), -1, teacher.dim)
        if work.mix:
            plain.append(features)
        else:
            shard.add_features(features)
        rest.progress.advance(len(waiting))
        waiting.clear()

    for content_hash, image in zip(hashes, images, strict=False):  # stops with the block: hashes come first
        if isinstance(image, BadImage):
            shard.skip(content_hash, image.reason)
            rest.progress.advance(1)
            continue
        prepared, views = image
        shard.add_image(content_hash, prepared)
        if work.mix:
            good.append((content_hash, prepared))
        waiting.append(views)
        if (len(waiting) + 1) * len(views) > BATCH_VIEWS:
            encode()
    if waiting:
        encode()
    if good:
        shard.add_features(np.concatenate([np.concatenate(plain), _mixed(work, good, rest.workers)], axis=1))
    shard.close_block()


def _mixed(work: TeacherPass, block: list[tuple[np.ndarray, Prepared]], workers: int | None) -> np.ndarray:
    """float32 [n, M, D]: the teacher's features of the mixed views of a block's images, in batches of their own."""
    hashes, images = zip(*block)
    cache = PixelCache.of_block([image.pixels for image in images], np.stack(hashes), work.seed, work.views)
    rows = np.repeat(np.arange(len(block)), work.mix)
    views = np.tile(np.arange(work.views, work.views + work.mix), len(block))
    found = []
    with ThreadPoolExecutor(workers or physical_cores(), thread_name_prefix="mix") as threads:
        for start in range(0, len(rows), BATCH_VIEWS):
            part = slice(start, start + BATCH_VIEWS)
            crops = cache.crops(rows[part], views[part], work.teacher.image_size, threads)
            found.append(np.asarray(work.teacher.encode_images(crops.numpy())))
    return np.concatenate(found).reshape(len(block), work.mix, -1)
