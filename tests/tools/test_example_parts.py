"""The image sets in examples/parts, as they are committed."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

from edgedistill.labels import Labels

PARTS = Path(__file__).parents[2] / "examples" / "parts"
SIX = {"hex_bolt", "hex_nut", "washer", "spur_gear", "coil_spring", "ball_bearing"}


@cache
def _images(folder: str) -> tuple[Path, ...]:
    return tuple(sorted((PARTS / folder).rglob("*.jpg")))


def test_the_labels_are_the_check_folders() -> None:
    names = {label.name.replace(" ", "_") for label in Labels.read(PARTS / "labels.txt").entries}
    assert names == SIX
    assert {path.name for path in (PARTS / "check").iterdir()} == SIX


def test_the_pool_is_flat_and_its_file_names_tell_nothing() -> None:
    files = list((PARTS / "pool").iterdir())
    assert len(files) >= 1200
    assert all(re.fullmatch(r"[0-9a-f]{12}\.jpg", path.name) for path in files)


def test_the_check_set_is_balanced() -> None:
    counts = {folder: len(list((PARTS / "check" / folder).glob("*.jpg"))) for folder in SIX}
    assert sum(counts.values()) >= 1000
    assert len(set(counts.values())) == 1


def test_the_unknowns_are_other_families() -> None:
    folders = {path.parent.name for path in _images("other")}
    assert len(_images("other")) >= 100
    assert len(folders) >= 5
    assert not folders & SIX


def test_together_they_stay_under_14_megabytes() -> None:
    assert sum(path.stat().st_size for name in ("pool", "check", "other") for path in _images(name)) <= 14_000_000


def test_every_image_decodes_at_its_size_and_is_neither_dark_nor_bright_nor_flat() -> None:
    for path in (*_images("pool"), *_images("check"), *_images("other")):
        with Image.open(path) as image:
            assert image.format == "JPEG", path
            assert image.mode == "RGB", path
            assert image.width == image.height, path
            assert 160 <= image.width <= 192, path
            grey = np.asarray(image.convert("L").resize((44, 44)), np.float32)
        assert 20 < grey.mean() < 235, path
        assert grey.std() > 5, path


def test_no_image_is_there_twice() -> None:
    contents = [path.read_bytes() for name in ("pool", "check", "other") for path in _images(name)]
    assert len(set(contents)) == len(contents)
