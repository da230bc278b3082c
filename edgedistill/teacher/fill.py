"""The teacher's one pass over the pool: each image is decoded once, and a store is filled block by block.

The pool is worked through in its order, by content hash, in blocks of 64 images, and the teacher always sees the same
batches, whatever the number of decoding threads. A block is a shard of the three data files: it exists when its line,
with its SHA-256 sums, stands in store.jsonl. A killed pass goes on after the last block whose sums hold, so a resumed
store equals an unbroken one byte for byte; nothing needs an fsync on the way, because a sum tells a torn write.
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
from ..images.duplicates import difference_hash
from ..images.pixels import cached_size, shrink
from ..images.views import view_box
from ..targets.machine import physical_cores
from ..targets.preprocess import BadImage, decode
from ..work import atomic
from ..work.console import SILENT, Progress
from ..work.tally import Tally
from .journal import DATA, FORMAT, JOURNAL, RECORD, Journal

BLOCK_IMAGES = 64
BATCH_VIEWS = 64  # a ViT-B/32 on two cores gains nothing above this, and 64 crops of 224 px are 10 MB


class ImageTeacher(Protocol):
    """What the pass needs of a teacher (teacher.py)."""

    id: str
    dim: int
    image_size: int

    def centre(self, image: Image.Image) -> np.ndarray: ...  # uint8 [S, S, 3]
    def encode_images(self, images: np.ndarray) -> np.ndarray: ...  # uint8 [n, S, S, 3] -> float32 [n, D], unit


class ImageSource(Protocol):
    """What the pass needs of a pool: sorted content hashes, uint8 [N, 32], and the bytes behind each."""

    @property
    def hashes(self) -> np.ndarray: ...
    def __len__(self) -> int: ...
    def read(self, row: int) -> bytes: ...


@dataclass(frozen=True, eq=False)
class TeacherPass:
    """What a store is made from: which images, which teacher, and how it looks at each of them.

    views       V >= 1; view 0 is the centre view, so a check set takes V = 1
    seed        of the other views' crops
    short_side  of the cached pixels; `pixels.short_side_for(teacher size, student size)`
    """

    pool: ImageSource
    teacher: ImageTeacher
    views: int
    seed: int
    short_side: int

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
        }

    def bytes_needed(self, first: int) -> int:
        """About how much the images from row `first` on take on the disk, all files together."""
        per_image = self._bytes_of_pixels(first) + RECORD.itemsize + self.views * self.teacher.dim * 2
        return (len(self.pool) - first) * per_image

    def _bytes_of_pixels(self, first: int) -> int:
        """Mean bytes of cached pixels, from the headers of 32 images spread over what is left to do."""
        sizes, total = [], len(self.pool)
        for row in np.unique(np.linspace(first, total - 1, 32, dtype=np.int64)) if first < total else ():
            with contextlib.suppress(Exception), Image.open(BytesIO(self.pool.read(int(row)))) as image:
                width, height = cached_size(image.width, image.height, self.short_side)
                sizes.append(3 * width * height)
        return sum(sizes) // len(sizes) if sizes else 0

    def prepare(self, row: int) -> _Prepared | BadImage:
        """Everything that happens to one image before the teacher sees it; runs in the decoding threads."""
        try:
            image = decode(self.pool.read(row))
        except BadImage as error:
            return error
        size = self.teacher.image_size
        content_hash = self.pool.hashes[row].tobytes()
        pixels = shrink(image, self.short_side)
        views = np.empty((self.views, size, size, 3), np.uint8)
        views[0] = self.teacher.centre(image)
        for view in range(1, self.views):
            write_crop(pixels, view_box(self.seed, content_hash, view, pixels.shape[1], pixels.shape[0]), views[view])
        return _Prepared(pixels, difference_hash(pixels), views)


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
    workers  decoding threads, as many as this process may use cores unless given; the result does not depend on it

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
        with contextlib.ExitStack() as stack:
            shard = stack.enter_context(_Appender(folder, journal))
            images = _in_order(work, range(done, total), workers)
            stack.callback(images.close)
            for start in range(done, total, BLOCK_IMAGES):
                _fill(shard, images, work.pool.hashes[start : start + BLOCK_IMAGES], work.teacher, progress)
                tally.losing(journal.skipped()).refuse_mostly_bad()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            left = work.bytes_needed(len(journal.blocks) * BLOCK_IMAGES)
            raise atomic.disk_full(folder / JOURNAL, left) from error
        raise
    journal.end()
    progress.done()


@dataclass
class _Prepared:
    """One decoded image, on its way from a decoding thread to the teacher."""

    pixels: np.ndarray  # uint8 [h, w, 3]
    dhash: int
    views: np.ndarray  # uint8 [V, S, S, 3]


def _in_order(work: TeacherPass, rows: range, workers: int | None) -> Generator[_Prepared | BadImage, None, None]:
    """Prepared images in the order of `rows`, made by threads that run at most two batches ahead."""
    ahead = 2 * max(1, BATCH_VIEWS // work.views)
    waiting: deque[Future[_Prepared | BadImage]] = deque()
    with ThreadPoolExecutor(workers or physical_cores(), thread_name_prefix="decode") as threads:
        try:
            for row in rows:
                waiting.append(threads.submit(work.prepare, row))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            threads.shutdown(cancel_futures=True)


def _fill(
    shard: _Appender,
    images: Iterator[_Prepared | BadImage],
    hashes: np.ndarray,
    teacher: ImageTeacher,
    progress: Progress,
) -> None:
    """Take one block's images, run the teacher over them in batches of whole images, and append what comes out."""
    waiting: list[np.ndarray] = []

    def encode() -> None:
        features = np.asarray(teacher.encode_images(np.concatenate(waiting)))
        shard.add_features(features.reshape(len(waiting), -1, teacher.dim))
        progress.advance(len(waiting))
        waiting.clear()

    for content_hash, image in zip(hashes, images, strict=False):  # stops with the block: hashes come first
        if isinstance(image, BadImage):
            shard.skip(content_hash, image.reason)
            progress.advance(1)
            continue
        shard.add_image(content_hash, image)
        waiting.append(image.views)
        if (len(waiting) + 1) * len(image.views) > BATCH_VIEWS:
            encode()
    if waiting:
        encode()
    shard.close_block()


class _Appender:
    """Appends one block after another to the data files, and each block's line, with its sums, to the journal."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._journal = journal
        self._open = contextlib.ExitStack()
        self._files = {k: self._open.enter_context(open(folder / name, "ab")) for k, name in DATA.items()}  # noqa: SIM115
        self._offset = journal.sizes()["pixels"]
        self._begin_block()

    def __enter__(self) -> _Appender:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # closing flushes: what a full disk refuses here it refused before
            self._open.close()

    def add_image(self, content_hash: np.ndarray, image: _Prepared) -> None:
        height, width = image.pixels.shape[:2]
        record = np.array([(content_hash, image.dhash, self._offset, width, height)], RECORD)
        self._append("images", record)
        self._append("pixels", image.pixels)
        self._offset += image.pixels.size
        self._images += 1

    def add_features(self, features: np.ndarray) -> None:
        self._append("features", features.astype("<f2"))

    def skip(self, content_hash: np.ndarray, reason: str) -> None:
        self._skipped.setdefault(reason, []).append(content_hash.tobytes().hex())

    def close_block(self) -> None:
        for file in self._files.values():
            file.flush()
        self._journal.append(
            {
                "images": self._images,
                "bytes": self._bytes,
                "sha256": {kind: total.hexdigest() for kind, total in self._sums.items()},
                "skipped": self._skipped,
            }
        )
        self._begin_block()

    def _begin_block(self) -> None:
        self._images = 0
        self._bytes = dict.fromkeys(DATA, 0)
        self._sums = {kind: hashlib.sha256() for kind in DATA}
        self._skipped: dict[str, list[str]] = {}

    def _append(self, kind: str, values: np.ndarray) -> None:
        data = np.ascontiguousarray(values).view(np.uint8).ravel().data
        self._files[kind].write(data)
        self._sums[kind].update(data)
        self._bytes[kind] += len(data)
