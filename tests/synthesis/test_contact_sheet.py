"""contact_sheet.jpg: a row a class, and 300 of them still fit a sheet that can be looked at."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgedistill.synthesis.contact_sheet import MAX_CLASSES, write_contact_sheet

RED, BLUE = (np.full((20, 20, 3), colour, np.uint8) for colour in ((220, 30, 30), (30, 30, 220)))


def sheet(path: Path, names: list[str], images: list[list[np.ndarray]]) -> np.ndarray:
    write_contact_sheet(path, names, images)
    with Image.open(path) as image:
        assert image.format == "JPEG"
        return np.asarray(image.convert("RGB")).astype(int)


def columns_of(pixels: np.ndarray, colour: np.ndarray) -> int:
    """How many pictures of a colour stand side by side in a row of pixels."""
    here = np.abs(pixels - colour[0, 0]).max(axis=1) < 40
    return int((here[1:] & ~here[:-1]).sum())


def test_every_class_has_a_row_of_at_most_twelve_with_its_name_before_it(tmp_path: Path) -> None:
    pixels = sheet(tmp_path / "sheet.jpg", ["hex bolt", "washer"], [[RED] * 15, [BLUE] * 4])
    assert pixels.shape == (2 * 100 + 4, 11 * 16 + 12 * 100 + 12, 3)
    assert columns_of(pixels[50], RED) == 12
    assert columns_of(pixels[150], BLUE) == 4
    for top in (0, 100):
        assert (pixels[top : top + 100, :176].max(axis=2) > 150).sum() > 50  # a name is written there


def test_a_class_without_images_says_so(tmp_path: Path) -> None:
    pixels = sheet(tmp_path / "sheet.jpg", ["nut", "gear"], [[], [RED]])
    assert (pixels[4:100, 180:].max(axis=2) > 90).any()


@pytest.mark.parametrize("classes", [1, 25, 300])
def test_sheets_keep_the_shape_of_a_screen(tmp_path: Path, classes: int) -> None:
    pixels = sheet(tmp_path / "sheet.jpg", ["a long name of a thing " * 9] * classes, [[RED] * 12] * classes)
    height, width = pixels.shape[:2]
    assert height <= 2500
    assert width <= 4500
    assert (np.abs(pixels - RED[0, 0]).max(axis=2) < 40).mean() > 0.25


def test_classes_beyond_the_limit_are_counted_in_a_line(tmp_path: Path) -> None:
    at = sheet(tmp_path / "at.jpg", ["a"] * MAX_CLASSES, [[RED]] * MAX_CLASSES)
    above = sheet(tmp_path / "above.jpg", ["a"] * (MAX_CLASSES + 5), [[RED]] * (MAX_CLASSES + 5))
    assert above.shape[1] == at.shape[1]
    assert (above[len(at) :].max(axis=2) > 150).any()


def test_same_images_same_bytes_and_a_row_for_every_name(tmp_path: Path) -> None:
    for name in ("one.jpg", "two.jpg"):
        write_contact_sheet(tmp_path / name, ["nut"], [[RED]])
    assert (tmp_path / "one.jpg").read_bytes() == (tmp_path / "two.jpg").read_bytes()
    with pytest.raises(ValueError, match="2 names"):
        write_contact_sheet(tmp_path / "three.jpg", ["nut", "gear"], [[RED]])
