"""The folder that a synthesis ends in, to look at, to prune by hand, and to give to --images:

washer/0000.png      the images that stay, in a folder a class
contact_sheet.jpg    the first of each class, classes as rows
synthesis.json       every image that was made: prompt, class, how sure the teacher is of it, kept or why not
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InputError
from ..images.synthetic import RECORD, SHEET
from ..work import atomic
from ..work.seal import INPUTS, SUMS
from .blocks import Blocks
from .contact_sheet import COLUMNS, write_contact_sheet
from .filter import Filtered
from .prompts import Prompts

FORMAT = 1
_LONGEST = 60  # characters of a folder's name: of four bytes each, and with a number, file systems take it


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of the images of `blocks`: `own` float [N], the teacher's p_c of each; the filter's answer."""

    prompts: Prompts
    blocks: Blocks
    own: np.ndarray
    filtered: Filtered


def write_folder(folder: Path, names: Sequence[str], outcome: Outcome, facts: dict[str, Any]) -> None:
    """Fill `folder`, which is new or begun: images, contact sheet, record with `facts` beside the images."""
    classes = folder_names(names)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
    places = _places(outcome, classes)
    for row, place in zip(outcome.blocks.rows, places):
        if place is not None:
            _link(outcome.blocks.image(int(row)), folder / place)
    write_contact_sheet(folder / SHEET, names, _sheet(outcome, len(names)))
    images = [_line(outcome, k, names, place, folder) for k, place in enumerate(places)]
    atomic.write_json(folder / RECORD, {"format": FORMAT, "classes": list(names), **facts, "images": images})


def folder_names(names: Sequence[str]) -> list[str]:
    """A folder's name for each class: its own where a file system takes it; all of them differ."""
    found: dict[str, str] = {}
    for index, name in enumerate(names):
        plain = re.sub(r"[^\w .,+&()'-]", "_", name)[:_LONGEST].strip(" .") or f"class {index}"
        while plain.casefold() in found:
            plain = f"{plain} ({index})"
        found[plain.casefold()] = plain
    return list(found.values())


def _places(outcome: Outcome, classes: Sequence[str]) -> list[str | None]:
    """Where each image goes, numbered within its class; None for those that do not stay."""
    count = dict.fromkeys(range(len(classes)), 0)
    places: list[str | None] = []
    for row, kept in zip(outcome.blocks.rows, outcome.filtered.kept):
        of = int(outcome.prompts.classes[row])
        places.append(f"{classes[of]}/{count[of]:04d}.png" if kept else None)
        count[of] += int(kept)
    return places


def _line(outcome: Outcome, k: int, names: Sequence[str], place: str | None, folder: Path) -> dict[str, Any]:
    prompts, row, filtered = outcome.prompts, int(outcome.blocks.rows[k]), outcome.filtered
    return {
        "row": row,
        "prompt": prompts.texts[row],
        "class": names[prompts.classes[row]],
        "style": prompts.style[row],
        "p_class": round(float(outcome.own[k]), 5),
        "kept": bool(filtered.kept[k]),
        "why": filtered.reasons[k],
        "weight": round(float(filtered.weights[k]), 5),
        **({} if place is None else {"file": place, "sha256": atomic.sha256_file(folder / place)}),
    }


def _sheet(outcome: Outcome, classes: int) -> list[list[np.ndarray]]:
    """The first images of each class."""
    found: list[list[np.ndarray]] = [[] for _ in range(classes)]
    for row in outcome.blocks.rows[outcome.filtered.kept]:
        of_class = found[outcome.prompts.classes[row]]
        if len(of_class) < COLUMNS:
            of_class.append(np.asarray(Image.open(outcome.blocks.image(int(row)))))
    return found


def _link(source: Path, target: Path) -> None:
    """The same file in a second place, or a copy where the file system has no links."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def check_destination(out: Path) -> None:
    """Raise InputError unless images may be written to `out`: nothing is there, or an empty folder, where one may
    write. What a person pruned by hand is never written over."""
    atomic.check_folder(out)
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out} holds files already", "Choose another --out, or empty that folder yourself.")


def copy_out(made: Path, out: Path) -> Path:
    """A finished folder's images, sheet and record as `out`, by one rename. Raises InputError for a full disk."""
    check_destination(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)  # what a killed run left
    try:
        shutil.copytree(made, temporary, ignore=shutil.ignore_patterns(INPUTS, SUMS))
        if out.exists():
            out.rmdir()
        atomic.publish(temporary, out)
    except OSError as error:  # shutil.Error, which copytree raises, is one without a number
        needed = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
        if error.errno in (errno.ENOSPC, errno.EDQUOT) or needed > shutil.disk_usage(out.parent).free:
            raise atomic.disk_full(out, needed) from error
        raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out
