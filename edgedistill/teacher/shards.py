"""The data files of a store under way: a block is appended to all three, then its line, with its sums, follows."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import numpy as np

from .decoding import Prepared
from .journal import DATA, RECORD, Journal


class Shards:
    """Appends one block after another to the data files, and each block's line, with its sums, to the journal."""

    def __init__(self, folder: Path, journal: Journal) -> None:
        self._journal = journal
        self._open = contextlib.ExitStack()
        self._files = {k: self._open.enter_context(open(folder / name, "ab")) for k, name in DATA.items()}  # noqa: SIM115
        self._offset = journal.sizes()["pixels"]
        self._begin_block()

    def __enter__(self) -> Shards:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):  # closing flushes: what a full disk refuses here it refused before
            self._open.close()

    def add_image(self, content_hash: np.ndarray, image: Prepared) -> None:
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
