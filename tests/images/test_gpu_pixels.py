"""A cache's pixels for a GPU, on the CPU: whole or paged, the crops are those of the cache."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from tiny_cache import cache_of
from tiny_images import make_photo

from edgedistill.images import gpu_pixels
from edgedistill.images.crops import spare
from edgedistill.images.gpu_pixels import GpuPixels
from edgedistill.images.pixels import PixelCache

CPU = torch.device("cpu")
ROWS, VIEWS = np.arange(45) * 4 % 9, np.arange(45) % 5


@pytest.fixture(scope="module")
def cache() -> PixelCache:
    sizes = [(72, 56), (40, 90), (64, 64)]
    return cache_of([np.asarray(make_photo("red disc", k, size=sizes[k % 3])) for k in range(9)], seed=2)


def room_for(cache: PixelCache) -> int:
    return len(cache.flat) + spare(90)


@pytest.mark.parametrize("size", [16, 48])
def test_crops_are_those_of_the_cache_to_the_same_bytes_in_both_forms(cache: PixelCache, size: int) -> None:
    whole, paged = GpuPixels.of(cache, CPU, room_for(cache)), GpuPixels.of(cache, CPU, 0)
    assert (whole.paged, paged.paged) == (False, True)
    found = whole.crops(whole.page(ROWS, VIEWS), size)
    assert torch.equal(paged.crops(paged.page(ROWS, VIEWS), size), found)
    assert (found.int() - cache.crops(ROWS, VIEWS, size).int()).abs().max() <= 1


def test_all_pixels_lie_on_the_device_where_they_and_the_spare_bytes_fit(cache: PixelCache) -> None:
    needed = len(cache.flat) + spare(cache.widest)
    assert not GpuPixels.of(cache, CPU, needed).paged
    assert GpuPixels.of(cache, CPU, needed - 1).paged


def test_a_cache_is_copied_slice_by_slice(cache: PixelCache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_pixels, "_SLICE_BYTES", 1000)
    assert len(cache.flat) % 1000  # so that the last slice is a short one
    page = GpuPixels.of(cache, CPU, room_for(cache)).page(ROWS, VIEWS)
    assert np.array_equal(page.pixels[: len(cache.flat)], cache.flat)


def test_a_page_is_the_boxes_pixels_and_nothing_else(cache: PixelCache) -> None:
    page = GpuPixels.of(cache, CPU, 0).page(ROWS, VIEWS)
    left, top, right, bottom = cache.boxes(ROWS, VIEWS).corners.T
    area = int(((right - left) * (bottom - top)).sum())
    assert len(page.pixels) == 3 * area + spare(int((right - left).max()))


def test_pages_made_ahead_by_several_threads_are_the_same(cache: PixelCache) -> None:
    paged = GpuPixels.of(cache, CPU, 0)
    expected = paged.crops(paged.page(ROWS, VIEWS), 24)
    with ThreadPoolExecutor(3) as ahead, ThreadPoolExecutor(3) as packers:
        pages = [ahead.submit(paged.page, ROWS, VIEWS, packers) for _ in range(6)]
        for page in pages:
            assert torch.equal(paged.crops(page.result(), 24), expected)


def test_rows_and_views_of_unequal_number_are_refused(cache: PixelCache) -> None:
    for room in (0, room_for(cache)):
        with pytest.raises(ValueError, match="shorter"):
            GpuPixels.of(cache, CPU, room).page(np.array([0, 1]), np.array([0]))


@pytest.mark.parametrize("room", [0, 10**9], ids=["paged", "whole"])
def test_on_cuda_crops_are_those_of_the_cache_within_a_grey_level(
    cache: PixelCache, cuda: torch.device, room: int
) -> None:
    pixels = GpuPixels.of(cache, cuda, room)
    assert pixels.paged == (room == 0)
    for size in (16, 48, 224):
        found = pixels.crops(pixels.page(ROWS, VIEWS), size).cpu()
        assert (found.int() - cache.crops(ROWS, VIEWS, size).int()).abs().max() <= 1
