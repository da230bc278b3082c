"""Crops: what Pillow makes of the same box, mirrored where the view says so."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tiny_images import make_photo

from edgedistill.images.crops import write_crop
from edgedistill.images.views import View


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    return [np.asarray(make_photo("red disc", 0, size=(72, 56)))]


def test_a_crop_is_what_pillow_makes_of_the_same_box(photos):
    box = View(5, 3, 50, 41, False)
    crop = np.empty((24, 24, 3), np.uint8)
    write_crop(photos[0], box, crop)
    expected = Image.fromarray(photos[0]).crop(box[:4]).resize((24, 24), Image.Resampling.BILINEAR)
    assert np.abs(crop.astype(int) - np.asarray(expected)).max() <= 1


def test_a_flipped_crop_is_the_mirror_image(photos):
    plain, flipped = np.empty((2, 24, 24, 3), np.uint8)
    write_crop(photos[0], View(5, 3, 50, 41, False), plain)
    write_crop(photos[0], View(5, 3, 50, 41, True), flipped)
    assert np.array_equal(flipped, plain[:, ::-1])
