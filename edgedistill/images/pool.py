"""The pool: a folder of unlabelled photos as a set of files named by their content.

A pool is an index of SHA-256 hashes, sorted, each once. Training reads bytes by row and sees nothing else: renaming the
files or moving them into other folders changes neither the index nor anything made from it. File names are kept apart,
for reports. Check images are read the same way; only there do folder names mean something (`scan_check`).

Files that only describe photos, such as a labelling tool's, are none of the pool (`DESCRIBES`).
Only headers are looked at here. Each image is decoded once, by teacher/fill.py, and there a truncated one is found.
The index is packed (32 bytes a hash and the bytes of the name), so that a million photos are no burden.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from ..targets.preprocess import BadImage, check_header, read_file
from ..work.console import SILENT, Progress
from ..work.tally import Tally, counts
from .synthetic import own_files
from .walk import folders

if TYPE_CHECKING:
    from ..labels import Labels

HASH_BYTES = 32
CHECK_LIMIT = 1000  # images of a check set
DESCRIBES = frozenset(
    f".{ending}"
    for ending in (
        "txt", "json", "jsonl", "xml", "csv", "tsv", "yaml", "yml", "toml", "md", "html",
        "names", "data", "cache", "xmp", "aae", "ini", "db", "log",
    )
)  # fmt: skip
"""How the names of files end that lie beside photos and say something of them, in any case: passed over like hidden
ones. An image whose name ends so is not looked for."""
_SPLIT_SHARE, _SPLIT_AT_LEAST, _SPLIT_AT_MOST_SHARE = 0.10, 200, 0.25


class Pool:
    """N distinct image files of one folder, in the order of their content hashes.

    hashes      uint8 [N, 32], sorted: SHA-256 of each file's bytes
    skipped     reason -> names of the files that are not used, sorted
    duplicates  how many further copies of the same bytes there were
    """

    def __init__(
        self,
        folder: Path,
        hashes: np.ndarray,
        names: bytes,
        spans: np.ndarray,
        skipped: dict[str, list[str]] | None = None,
        duplicates: int = 0,
    ) -> None:
        self.folder = folder
        self.hashes = hashes
        self.skipped = skipped or {}
        self.duplicates = duplicates
        self._names = names  # all names, one after the other
        self._spans = spans  # int64 [N, 2]: start and end of each row's name

    def __len__(self) -> int:
        return len(self.hashes)

    @property
    def fingerprint(self) -> str:
        """Hex digest of the set of files: of their contents, not of their names."""
        return hashlib.sha256(self.hashes.tobytes()).hexdigest()

    @property
    def tally(self) -> Tally:
        """Of the folder's files, as far as this pool knows them."""
        return Tally(str(self.folder), len(self) + self.duplicates, counts(self.skipped))

    def name(self, row: int) -> str:
        """Path of an image relative to the folder, for reports only."""
        start, end = self._spans[row]
        return os.fsdecode(self._names[start:end])

    def read(self, row: int) -> bytes:
        """The bytes of image `row`. Raises InputError when the file is no longer what was scanned."""
        path = self.folder / self.name(row)
        try:
            data = read_file(path)
        except BadImage as error:
            raise _changed(path, str(error)) from error
        if hashlib.sha256(data).digest() != self.hashes[row].tobytes():
            raise _changed(path, "its content is another one")
        return data

    def subset(self, rows: np.ndarray) -> Pool:
        """The pool of these rows (int64, ascending), or of a bool mask."""
        return Pool(self.folder, self.hashes[rows], self._names, self._spans[rows])

    def split(self) -> tuple[Pool, Pool]:
        """(train, check): the lowest hashes are the check images, so the same photos are held out every time."""
        held_out = split_size(len(self))
        return self.subset(np.arange(held_out, len(self))), self.subset(np.arange(held_out))

    def without(self, other: Pool) -> tuple[Pool, int]:
        """(the pool without files that are byte for byte in `other`, how many these were)."""
        mine, theirs = (np.ascontiguousarray(p.hashes).view(f"V{HASH_BYTES}").ravel() for p in (self, other))
        keep = ~np.isin(mine, theirs)
        return self.subset(keep), int((~keep).sum())


def split_size(images: int) -> int:
    """How many of `images` are held out for checking: a tenth, at least 200, at most 1,000, never over a quarter."""
    wanted = max(round(images * _SPLIT_SHARE), _SPLIT_AT_LEAST)
    return min(wanted, CHECK_LIMIT, int(images * _SPLIT_AT_MOST_SHARE))


def scan(folder: Path, progress: Progress = SILENT) -> Pool:
    """Index every image under `folder`, at any depth; hidden files and folders are passed over, and so are DESCRIBES.

    Links are followed, link loops are not. Raises InputError when there is no such folder, no image in it, or when more
    than half of its files cannot be used.
    """
    return _index(folder, _read_folder(folder, progress))[0]


@dataclass(frozen=True)
class CheckImages:
    """Check images and their true classes.

    labels             int64 [N]: class index of each row of `pool`, −1 where unknown
    unmatched_folders  direct sub-folders whose name is no class and no synonym, sorted
    left_out           images beyond the limit, the ones of the highest hashes
    """

    pool: Pool
    labels: np.ndarray
    unmatched_folders: tuple[str, ...]
    left_out: int


def scan_check(folder: Path, labels: Labels, limit: int = CHECK_LIMIT, progress: Progress = SILENT) -> CheckImages:
    """Index check images; a direct sub-folder that bears a class name or a synonym labels everything under it.

    Images beside the folders are unlabelled, and so is an image found under two classes. Raises InputError as `scan`.
    """
    found = _read_folder(folder, progress)
    class_of: dict[str, int] = {}
    of_file = np.empty(len(found), np.int64)
    for k in range(len(found)):
        top, slash, _ = found.name(k).partition(os.sep)
        if not slash:
            of_file[k] = -1
            continue
        if top not in class_of:
            match = labels.match(top)
            class_of[top] = -1 if match is None else match
        of_file[k] = class_of[top]
    pool, row_of_file = _index(folder, found)
    lowest, highest = np.full(len(pool), len(labels)), np.full(len(pool), -1)
    np.minimum.at(lowest, row_of_file, of_file)
    np.maximum.at(highest, row_of_file, of_file)
    of_row = np.where(lowest == highest, highest, -1).astype(np.int64)
    unmatched = tuple(sorted(name for name, label in class_of.items() if label < 0))
    kept = np.arange(min(limit, len(pool)))
    limited = Pool(folder, pool.hashes[kept], pool._names, pool._spans[kept], pool.skipped, pool.duplicates)
    return CheckImages(limited, of_row[kept], unmatched, len(pool) - len(kept))


@dataclass
class _Found:
    """Usable files in the order they were met, packed."""

    hashes: bytearray = field(default_factory=bytearray)
    names: bytearray = field(default_factory=bytearray)
    ends: array[int] = field(default_factory=lambda: array("q", [0]))
    skipped: dict[str, list[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ends) - 1

    def name(self, k: int) -> str:
        return os.fsdecode(bytes(self.names[self.ends[k] : self.ends[k + 1]]))

    def add(self, name: str, content_hash: bytes) -> None:
        self.hashes += content_hash
        self.names += os.fsencode(name)
        self.ends.append(len(self.names))

    def skip(self, name: str, reason: str) -> None:
        self.skipped.setdefault(reason, []).append(name)


def _read_folder(folder: Path, progress: Progress) -> _Found:
    if not folder.is_dir():
        what = "is not a folder" if folder.exists() else "does not exist"
        raise InputError(f"the image folder {folder} {what}", "Name a folder that holds the photos.")
    found = _Found()
    progress.start("scan", sum(1 for _, reason in files(folder) if not reason))
    for name, reason in files(folder):
        if reason:
            found.skip(name, reason)
            continue
        try:
            data = read_file(folder / name)
            check_header(data)
        except BadImage as error:
            found.skip(name, error.reason)
        else:
            found.add(name, hashlib.sha256(data).digest())
        progress.advance(1)
    progress.done()
    for names in found.skipped.values():
        names.sort()
    Tally(str(folder), len(found), counts(found.skipped)).refuse_mostly_bad()
    return found


def files(folder: Path) -> Iterator[tuple[str, str]]:
    """(name, "") of every file under `folder`, relative to it, depth first, sorted; hidden ones are passed over, and so
    are DESCRIBES and what lies beside synthetic images.

    A folder that cannot be listed, or that was entered before, is (name, why it is skipped).
    """
    for here in folders(folder):
        if not here.readable:
            yield here.name or ".", "unreadable"
            continue
        own = own_files(here.files)
        for name in here.files:
            if name not in own and os.path.splitext(name)[1].lower() not in DESCRIBES:
                yield os.path.join(here.name, name), ""
        for name in here.entered_before:
            yield os.path.join(here.name, name), "link loop"


def _index(folder: Path, found: _Found) -> tuple[Pool, np.ndarray]:
    """(the pool, the pool's row of every file found). Of files with equal bytes the first one met lends its name."""
    hashes = np.frombuffer(bytes(found.hashes), np.uint8).reshape(-1, HASH_BYTES)
    order = np.lexsort(hashes.view(">u8").T[::-1])
    ordered = hashes[order]
    first = np.ones(len(order), bool)
    first[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    row_of_file = np.empty(len(order), np.int64)
    row_of_file[order] = np.cumsum(first) - 1
    ends = np.frombuffer(found.ends, np.int64)
    spans = np.stack([ends[:-1], ends[1:]], axis=1)[order[first]]
    pool = Pool(folder, ordered[first], bytes(found.names), spans, found.skipped, int((~first).sum()))
    return pool, row_of_file


def _changed(path: Path, how: str) -> InputError:
    return InputError(
        f"{path} changed while the build was reading it: {how}",
        "Leave the folder alone until the store is made, then run the same command.",
    )
