"""Cached pixels: sizes, crops against Pillow, and one result for any number of threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image
from tiny_images import make_photo

from edgedistill.images.crops import write_crop
from edgedistill.images.pixels import PixelCache, cached_size, short_side_for, shrink
from edgedistill.images.views import view_box
from edgedistill.targets.preprocess import to_pixels


def cache_of(images: list[np.ndarray], seed: int = 0) -> PixelCache:
    hashes = np.random.default_rng(0).integers(0, 256, (len(images), 32), dtype=np.uint8)
    sizes = np.array([image.size for image in images])
    heights, widths = np.array([image.shape[:2] for image in images]).T
    return PixelCache(
        np.concatenate([image.ravel() for image in images]), np.cumsum(sizes) - sizes, widths, heights, hashes, seed
    )


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
        box = view_box(5, cache._hashes[4].tobytes(), 3, 40, 90)
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
