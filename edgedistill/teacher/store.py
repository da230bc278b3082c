"""The teacher store: what the frozen teacher thinks of every view of every photo, and the pixels it looked at.

One pass over the pool decodes each image once and keeps, in four files:

    features.f16   little-endian float16 [N, V, D]: unit features; view 0 through the teacher's own preprocessing
    pixels.u8      RGB, ragged: what training crops from (pixels.py)
    images.bin     one record an image (`RECORD`): content hash, difference hash, place and size of its pixels
    store.jsonl    first line: what the store was made from; then one line a block; last line: the end

After this pass the teacher is not needed again: every method, prompt set and class list reads this store.

The pool is worked through in its order, by content hash, in blocks of 64 images, and the teacher always sees the same
batches, whatever the number of decoding threads. A block is a shard of the three data files: it exists when its line,
with its SHA-256 sums, stands in store.jsonl. A killed pass goes on after the last block whose sums hold, so a resumed
store equals an unbroken one byte for byte; nothing needs an fsync on the way, because a sum tells a torn write.

Features are kept, not probabilities; they are normalised again after reading, since float16 rounds. An image whose
decoding fails is left out and named in `skipped`; file names are never seen here.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import json
import shutil
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ..errors import InputError
from ..images.duplicates import difference_hash
from ..images.pixels import PixelCache, cached_size, shrink, write_crop
from ..images.views import view_box
from ..targets.machine import physical_cores
from ..targets.preprocess import BadImage, decode
from ..work import atomic
from ..work.console import SILENT, Progress
from ..work.tally import Tally

FORMAT = 1
BLOCK_IMAGES = 64
BATCH_VIEWS = 64  # a ViT-B/32 on two cores gains nothing above this, and 64 crops of 224 px are 10 MB
JOURNAL = "store.jsonl"
RECORD = np.dtype(
    [("hash", np.uint8, 32), ("dhash", "<u8"), ("offset", "<u8"), ("width", "<u4"), ("height", "<u4")],
)
_BLOCK_KEYS = {"images", "bytes", "sha256", "skipped"}
_DATA = {"images": "images.bin", "features": "features.f16", "pixels": "pixels.u8"}


class StoreDamaged(InputError):
    """A file of the store is not what was written: which one, and that its folder should be deleted."""


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
    journal = _Journal.resume(folder, work.inputs())
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


class TeacherStore:
    """A finished store, memory-mapped: N images, V views, D dimensions.

    hashes   uint8 [N, 32], sorted: content hashes of the images in it
    dhash    uint64 [N]: difference hashes
    pixels   PixelCache over the same rows
    skipped  reason -> content hashes (hex) of pool images that could not be decoded
    inputs   what the store was made from
    """

    def __init__(self, folder: Path, journal: _Journal) -> None:
        self.inputs = journal.inputs
        self.skipped = journal.skipped()
        records = np.fromfile(folder / _DATA["images"], RECORD)
        self.hashes = np.ascontiguousarray(records["hash"])
        self.dhash = np.ascontiguousarray(records["dhash"])
        shape = (len(records), journal.inputs["views"], journal.inputs["dim"])
        self._features = _mapped(folder / _DATA["features"]).view("<f2").reshape(shape)
        self.pixels = PixelCache(
            _mapped(folder / _DATA["pixels"]),
            np.ascontiguousarray(records["offset"]),
            np.ascontiguousarray(records["width"]),
            np.ascontiguousarray(records["height"]),
            self.hashes,
            journal.inputs["seed"],
        )

    @classmethod
    def open(cls, folder: Path, verify: bool = True) -> TeacherStore:
        """Open a finished store; `verify` reads every byte once and compares the sums. Raises StoreDamaged."""
        journal = _Journal.read(folder)
        if journal is None or not journal.ended:
            raise _damaged(folder / JOURNAL, "the store is not whole")
        for kind, name in _DATA.items():
            path = folder / name
            size, expected = path.stat().st_size if path.is_file() else 0, journal.sizes()[kind]
            if size != expected:
                raise _damaged(path, f"{size} bytes instead of {expected}")
        if verify:
            sound, where = journal.sound_blocks(folder)
            if where:
                raise _damaged(where, f"the checksum of block {sound} is another one")
        return cls(folder, journal)

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def views(self) -> int:
        """V."""
        return int(self._features.shape[1])

    @property
    def dim(self) -> int:
        """D."""
        return int(self._features.shape[2])

    def features(self, rows: np.ndarray, views: np.ndarray) -> np.ndarray:
        """float32 [n, D], unit: the teacher's feature of view `views[k]` of image `rows[k]`."""
        return _unit(self._features[rows, views])

    def all_views(self, rows: np.ndarray) -> np.ndarray:
        """float32 [n, V, D], unit: every view of each image."""
        return _unit(self._features[rows])

    def centre(self, rows: np.ndarray | None = None) -> np.ndarray:
        """float32 [n, D], unit: view 0 of these images, or of all."""
        return _unit(self._features[:, 0] if rows is None else self._features[rows, 0])

    def centre_views(self, rows: np.ndarray) -> CentreViews:
        """The same as `centre(rows)`, read only where it is sliced."""
        return CentreViews(self, rows)

    def view_targets(self, rows: np.ndarray, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(u, u_mean), float32 [n, D] each: the feature of the student's own view, and of the mean over views.

        The policy `match` takes the first, `mean` the second, `blend` both (methods/ decides).
        """
        every = self.all_views(rows)
        return every[np.arange(len(every)), views], _unit(every.mean(axis=1))

    def mean_feature(self, rows: np.ndarray | None = None, chunk: int = 4096) -> np.ndarray:
        """float32 [D], not normalised: the mean centre-view feature of the pool, or of these rows."""
        rows = np.arange(len(self)) if rows is None else rows
        total = np.zeros(self.dim, np.float64)
        for start in range(0, len(rows), chunk):
            total += self.centre(rows[start : start + chunk]).sum(axis=0, dtype=np.float64)
        return (total / len(rows)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class CentreViews:
    """View 0 of these rows of a store, [n, D]; a slice of it is a float32 array with unit rows."""

    store: TeacherStore
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> np.ndarray:
        return self.store.centre(self.rows[part])


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

    def __init__(self, folder: Path, journal: _Journal) -> None:
        self._journal = journal
        self._open = contextlib.ExitStack()
        self._files = {k: self._open.enter_context(open(folder / name, "ab")) for k, name in _DATA.items()}  # noqa: SIM115
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
        self._bytes = dict.fromkeys(_DATA, 0)
        self._sums = {kind: hashlib.sha256() for kind in _DATA}
        self._skipped: dict[str, list[str]] = {}

    def _append(self, kind: str, values: np.ndarray) -> None:
        data = np.ascontiguousarray(values).view(np.uint8).ravel().data
        self._files[kind].write(data)
        self._sums[kind].update(data)
        self._bytes[kind] += len(data)


class _Journal:
    """store.jsonl: what the store was made from, the blocks that are whole, and whether it ended.

    The end line bears the sum of all lines before it, so that a store whose journal was altered does not open.
    """

    def __init__(self, path: Path, inputs: dict[str, Any], blocks: list[dict[str, Any]], ended: bool) -> None:
        self._path = path
        self.inputs = inputs
        self.blocks = blocks
        self.ended = ended

    @classmethod
    def read(cls, folder: Path) -> _Journal | None:
        """The journal as far as it can be read; a torn or altered line ends it. None where there is no journal."""
        path = folder / JOURNAL
        lines = path.read_bytes().splitlines(keepends=True) if path.is_file() else []
        values = list(map(_parse, lines))
        values = values[: values.index({})] if {} in values else values
        if not values or values[0].get("format") != FORMAT:
            return None
        ended = lines[-1] == cls._end_line(lines[:-1])
        blocks = itertools.takewhile(lambda value: value.keys() == _BLOCK_KEYS, values[1:])
        return cls(path, values[0], list(blocks), ended)

    @classmethod
    def resume(cls, folder: Path, inputs: dict[str, Any]) -> _Journal:
        """The journal to go on from: the leading blocks whose sums hold, the data files cut back to them."""
        folder.mkdir(parents=True, exist_ok=True)
        journal = cls.read(folder)
        if journal is None or journal.inputs != inputs:
            journal = cls(folder / JOURNAL, inputs, [], False)
        sound, damaged = journal.sound_blocks(folder)
        if damaged is None and journal.ended:
            return journal
        journal.blocks, journal.ended = journal.blocks[:sound], False
        for kind, name in _DATA.items():
            with open(folder / name, "ab") as file:
                if file.tell() != journal.sizes()[kind]:
                    file.truncate(journal.sizes()[kind])
        atomic.write_bytes(journal._path, b"".join(map(_line, [inputs, *journal.blocks])))
        return journal

    def append(self, block: dict[str, Any]) -> None:
        with open(self._path, "ab") as file:
            file.write(_line(block))
        self.blocks.append(block)

    def end(self) -> None:
        with open(self._path, "ab") as file:
            file.write(self._end_line(map(_line, [self.inputs, *self.blocks])))
        self.ended = True

    @staticmethod
    def _end_line(lines: Iterable[bytes]) -> bytes:
        return _line({"end": hashlib.sha256(b"".join(lines)).hexdigest()})

    def sizes(self) -> dict[str, int]:
        """Bytes of each data file."""
        return {kind: sum(block["bytes"][kind] for block in self.blocks) for kind in _DATA}

    def skipped(self) -> dict[str, list[str]]:
        """Reason -> content hashes of images that could not be decoded."""
        merged: dict[str, list[str]] = {}
        for block in self.blocks:
            for reason, hashes in block["skipped"].items():
                merged.setdefault(reason, []).extend(hashes)
        return merged

    def sound_blocks(self, folder: Path) -> tuple[int, Path | None]:
        """(how many leading blocks are as they were written, the file in which the next one is not, or None)."""
        files = {kind: _mapped(folder / name) for kind, name in _DATA.items()}
        starts = dict.fromkeys(_DATA, 0)
        for number, block in enumerate(self.blocks):
            for kind, name in _DATA.items():
                end = starts[kind] + block["bytes"][kind]
                if hashlib.sha256(files[kind][starts[kind] : end].data).hexdigest() != block["sha256"][kind]:
                    return number, folder / name
                starts[kind] = end
        return len(self.blocks), None


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def _parse(line: bytes) -> dict[str, Any]:
    """The JSON object on a line; an empty one where the line is torn or is something else."""
    try:
        value = json.loads(line) if line.endswith(b"\n") else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _mapped(path: Path) -> np.ndarray:
    """A file's bytes, memory-mapped; none for a file that is empty or missing."""
    if not path.is_file() or not path.stat().st_size:
        return np.empty(0, np.uint8)
    return np.asarray(np.memmap(path, np.uint8, "r"))


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = vectors.astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _damaged(path: Path, how: str) -> StoreDamaged:
    return StoreDamaged(
        f"{path} is damaged: {how}",
        f"Delete the folder {path.parent} and run the same command: it is made again.",
    )
