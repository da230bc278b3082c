"""A folder of images that were made from class names (synthesis/), read as any folder of photos is.

Beside the images it holds a record and a contact sheet, which are none of the pool. The record names every image by the
hash of its bytes, so that images may be deleted, renamed or mixed with photos, and are known nevertheless.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InputError
from ..targets import outside
from ..work.seal import INPUTS, SUMS
from .walk import folders

if TYPE_CHECKING:
    from ..labels import Labels

RECORD = "synthesis.json"
SHEET = "contact_sheet.jpg"
_HEAVIEST = 1e6  # of a record that a person changed; ours are 0 to 1
MOST_OF_A_PHOTO = 8.0
"""How much one photo may count beside images that were made; one alone must not be half of what is learnt."""


@dataclass(frozen=True, eq=False)
class Made:
    """Images that were made: SHA-256 (hex) -> (index of the class it was made to show, -1 where that is no class of the
    list; how much it counts, 0..1)."""

    facts: dict[str, tuple[int, float]]

    def among(self, hashes: np.ndarray) -> np.ndarray:
        """bool [N]: which images of these content hashes, uint8 [N,32], were made."""
        return np.array([content.tobytes().hex() in self.facts for content in hashes], bool)

    def row_facts(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(weight float32 [N], class int64 [N]) of these images.

        Photos are of class -1. Where they are few, they count together as much as all that was made, each at most
        MOST_OF_A_PHOTO; else 1 each.
        """
        made = self.among(hashes)
        found = [self.facts.get(content.tobytes().hex(), (-1, 1.0)) for content in hashes]
        weights = np.array([weight for _, weight in found], np.float32)
        if made.any() and not made.all():
            weights[~made] = np.clip(weights[made].sum() / (~made).sum(), 1, MOST_OF_A_PHOTO)
        return weights, np.array([of for of, _ in found], np.int64)

    def digest(self, hashes: np.ndarray) -> str:
        """Of what is known of these images."""
        return hashlib.sha256(b"".join(values.tobytes() for values in self.row_facts(hashes))).hexdigest()


def own_files(entries: Collection[str]) -> Collection[str]:
    """Of the names in a folder those that are no images: none, where no record is among them."""
    return (RECORD, SHEET, INPUTS, SUMS) if RECORD in entries else ()


def records_in(folder: Path) -> list[Path]:
    """The records under `folder`, at any depth, as its images are found; none where there is no such folder."""
    if not folder.is_dir():
        return []
    return [folder / here.name / RECORD for here in folders(folder) if RECORD in here.files]


def made_in(folder: Path, labels: Labels) -> Made | None:
    """The images that the records under `folder` name; None where no record is.

    Raises InputError where a record cannot be read.
    """
    records = records_in(folder)
    facts: dict[str, tuple[int, float]] = {}
    for path in records:
        facts |= _read(path, labels)
    return Made(facts) if records else None


def _read(path: Path, labels: Labels) -> dict[str, tuple[int, float]]:
    try:
        record = outside.read_object(path, outside.LARGE)
        kept = [image for image in record["images"] if image["kept"]]
        index = {name: labels.match(name) for name in {image["class"] for image in kept}}
        return {
            str(image["sha256"]): (-1 if (at := index[image["class"]]) is None else at, _weight(image["weight"]))
            for image in kept
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is damaged: {error}", "Synthesize anew, or delete it: then its images count as photos."
        ) from error


def _weight(value: Any) -> float:
    """How much an image counts, as its record says."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= _HEAVIEST:
        raise ValueError(f"a weight is {value!r}")
    return value
