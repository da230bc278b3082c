"""store.jsonl: which blocks of a teacher store are whole, with the sums of their bytes in the three data files."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..targets.outside import Unfit, parse_json, read_bytes
from ..work import atomic

FORMAT = 1
MOST_BYTES = 256 << 20
JOURNAL = "store.jsonl"
RECORD = np.dtype(
    [("hash", np.uint8, 32), ("dhash", "<u8"), ("offset", "<u8"), ("width", "<u4"), ("height", "<u4")],
)
BLOCK_KEYS = {"images", "bytes", "sha256", "skipped"}
DATA = {"images": "images.bin", "features": "features.f16", "pixels": "pixels.u8"}


class StoreDamaged(InputError):
    """A file of the store is not what was written: which one."""


class Journal:
    """store.jsonl: what the store was made from, the blocks that are whole, and whether it ended.

    The end line bears the sum of all lines before it, so that a store whose journal was altered does not open.
    """

    def __init__(self, path: Path, inputs: dict[str, Any], blocks: list[dict[str, Any]], ended: bool) -> None:
        self._path = path
        self.inputs = inputs
        self.blocks = blocks
        self.ended = ended

    @classmethod
    def read(cls, folder: Path) -> Journal | None:
        """The journal as far as it can be read; a torn or altered line ends it. None where there is no journal."""
        path = folder / JOURNAL
        lines = read_bytes(path, MOST_BYTES).splitlines(keepends=True) if path.is_file() else []
        values = list(map(_parse, lines))
        values = values[: values.index({})] if {} in values else values
        if not values or values[0].get("format") != FORMAT:
            return None
        ended = lines[-1] == cls._end_line(lines[:-1])
        blocks = itertools.takewhile(_is_block, values[1:])
        return cls(path, values[0], list(blocks), ended)

    @classmethod
    def resume(cls, folder: Path, inputs: dict[str, Any]) -> Journal:
        """The journal to go on from: the leading blocks whose sums hold, the data files cut back to them."""
        folder.mkdir(parents=True, exist_ok=True)
        journal = cls.read(folder)
        if journal is None or journal.inputs != inputs:
            journal = cls(folder / JOURNAL, inputs, [], False)
        sound, damaged = journal.sound_blocks(folder)
        if damaged is None and journal.ended:
            return journal
        journal.blocks, journal.ended = journal.blocks[:sound], False
        for kind, name in DATA.items():
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
        return {kind: sum(block["bytes"][kind] for block in self.blocks) for kind in DATA}

    def skipped(self) -> dict[str, list[str]]:
        """Reason -> content hashes of images that could not be decoded."""
        merged: dict[str, list[str]] = {}
        for block in self.blocks:
            for reason, hashes in block["skipped"].items():
                merged.setdefault(reason, []).extend(hashes)
        return merged

    def sound_blocks(self, folder: Path) -> tuple[int, Path | None]:
        """(how many leading blocks are as they were written, the file in which the next one is not, or None)."""
        files = {kind: mapped(folder / name) for kind, name in DATA.items()}
        starts = dict.fromkeys(DATA, 0)
        for number, block in enumerate(self.blocks):
            for kind, name in DATA.items():
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
        value = parse_json(line) if line.endswith(b"\n") else {}
    except Unfit:
        return {}
    return value if isinstance(value, dict) else {}


def _is_block(value: dict[str, Any]) -> bool:
    """Whether it is what `append` was given: a line that was altered may be JSON all the same."""
    if value.keys() != BLOCK_KEYS or not all(isinstance(value[key], dict) for key in ("bytes", "sha256", "skipped")):
        return False
    counts, sums, skipped = value["bytes"], value["sha256"], value["skipped"].values()
    return (
        counts.keys() == sums.keys() == DATA.keys()
        and all(type(count) is int and 0 <= count < 2**62 for count in (value["images"], *counts.values()))
        and all(isinstance(one, str) for one in sums.values())
        and all(isinstance(hashes, list) and all(isinstance(one, str) for one in hashes) for hashes in skipped)
    )


def mapped(path: Path) -> np.ndarray:
    """A file's bytes, memory-mapped; none for a file that is empty or missing."""
    if not path.is_file() or not path.stat().st_size:
        return np.empty(0, np.uint8)
    return np.asarray(np.memmap(path, np.uint8, "r"))


def damaged(path: Path, how: str) -> StoreDamaged:
    return StoreDamaged(
        f"{path} is damaged: {how}",
        "Run the same command: it is made again.",
    )
