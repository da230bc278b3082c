"""Cached pixels: sizes, crops against Pillow, and one result for any number of threads."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from tiny_cache import cache_of
from tiny_images import make_photo

from edgedistill.images.crops import write_crop
from edgedistill.images.pixels import cached_size, short_side_for, shrink
from edgedistill.targets.preprocess import to_pixels


@pytest.fixture(scope="module")
def photos() -> list[np.ndarray]:
    sizes = [(72, 56), (40, 90), (64, 64)]
    return [np.asarray(make_photo("red disc", k, size=sizes[k % 3])) for k in range(9)]


def test_the_short_side_covers_the_larger_model():
    assert short_side_for(224, 160) == 258
    assert short_side_for(160, 176) == 203


@pytest.mark.parametrize(
    ("size", "cached"), [((500, 375), (344, 258)), ((375, 500), (258, 344)), ((300, 200), (300, 200))]
)
def test_images_are_reduced_to_the_short_side_and_never_enlarged(size, cached):
    assert cached_size(*size, 258) == cached
    assert shrink(Image.new("RGB", size), 258).shape == (cached[1], cached[0], 3)


def test_a_cached_image_comes_back_as_it_was(photos):
    cache = cache_of(photos)
    for row, photo in enumerate(photos):
        assert np.array_equal(cache.image(row), photo)


def test_view_0_is_what_the_device_makes_of_the_image_but_for_the_outermost_pixels(photos):
    crops = cache_of(photos).crops(range(9), [0] * 9, 32).numpy()
    for crop, photo in zip(crops, photos, strict=True):
        difference = np.abs(crop.astype(int) - to_pixels(Image.fromarray(photo), 32))
        assert difference[2:-2, 2:-2].max() <= 1


def test_teacher_and_student_get_the_same_box_each_at_its_own_size(photos):
    cache = cache_of(photos, seed=5)
    for size in (16, 48):
        crops = cache.crops([4], [3], size).numpy()
        box = cache.boxes(np.array([4]), np.array([3]))[0]
        expected = np.empty((size, size, 3), np.uint8)
        write_crop(photos[4], box, expected)
        assert np.array_equal(crops[0], expected)


def test_crops_do_not_depend_on_threads_nor_on_their_company(photos):
    cache = cache_of(photos)
    rows, views = np.arange(45) % 9, np.arange(45) % 5
    together = cache.crops(rows, views, 20)
    assert together.shape == (45, 20, 20, 3)
    assert together.is_contiguous()
    with ThreadPoolExecutor(3) as threads:
        assert np.array_equal(cache.crops(rows, views, 20, threads), together)
    alone = np.concatenate([cache.crops([row], [view], 20) for row, view in zip(rows, views, strict=True)])
    assert np.array_equal(alone, together)


def test_rows_and_views_of_unequal_number_are_refused(photos):
    with pytest.raises(ValueError, match="shorter"):
        cache_of(photos).crops([0, 1], [0], 16)


def test_a_cut_points_at_the_pixels_of_its_box(photos: list[np.ndarray]) -> None:
    cache, rows, views = cache_of(photos), np.arange(45) % 9, np.arange(45) % 5
    boxes, cuts = cache.boxes(rows, views), cache.cuts(rows, views)
    for k, row in enumerate(rows):
        left, top, right, bottom, flip = boxes[k]
        assert (cuts.width[k], cuts.height[k], cuts.flip[k]) == (right - left, bottom - top, flip)
        shape = (bottom - top, right - left, 3)
        part = np.lib.stride_tricks.as_strided(cache.flat[cuts.start[k] :], shape, (cuts.stride[k], 3, 1))
        assert np.array_equal(part, photos[row][top:bottom, left:right])


def test_reading_pixels_loads_no_torch() -> None:
    """The processes that decode photos import this file: torch would cost each of them seconds and memory."""
    program = "import sys, edgedistill.images.pixels; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0
