"""Mixed views: who is blended with whom, in which shares, and that every path makes the same pixels of it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_images import make_photo

from edgedistill.images.crops import spare, write_crop
from edgedistill.images.gpu_pixels import GpuPixels
from edgedistill.images.mixes import WHOLE, Blends, Mixing, blend
from edgedistill.images.pixels import PixelCache

PLAIN, MIX, SEED = 3, 4, 2
SIZES = [(72, 56), (40, 90), (64, 64)]
IMAGES = [np.asarray(make_photo("red disc", k, size=SIZES[k % 3])) for k in range(9)]
HASHES = np.random.default_rng(1).integers(0, 256, (9, 32), dtype=np.uint8)
ROWS = np.repeat(np.arange(9), PLAIN + MIX)
VIEWS = np.tile(np.arange(PLAIN + MIX), 9)


@pytest.fixture(scope="module")
def cache() -> PixelCache:
    return PixelCache.of_block(IMAGES, HASHES, SEED, PLAIN)


def blends(counts: list[int], rows: np.ndarray, views: np.ndarray, seed: int = SEED) -> Blends:
    hashes = np.random.default_rng(0).integers(0, 256, (sum(counts), 32), dtype=np.uint8)
    return Mixing.of_blocks(PLAIN, counts).blends(seed, hashes[rows], rows, views)


@given(counts=st.lists(st.integers(0, 6), max_size=5), seed=st.integers(0, 5))
def test_a_partner_is_another_image_of_the_block_and_has_no_more_than_half(counts: list[int], seed: int) -> None:
    total = sum(counts)
    rows, views = np.repeat(np.arange(total), 5), np.tile(np.arange(5), total)
    found = blends(counts, rows, views, seed)
    assert np.array_equal(found.which, np.flatnonzero(views >= PLAIN))
    block = np.repeat(np.arange(len(counts)), counts)
    mixed = rows[found.which]
    assert np.array_equal(block[mixed], block[found.partner])
    alone = np.repeat(counts, counts)[mixed] == 1
    assert np.array_equal(found.partner == mixed, alone)
    assert ((found.weight >= WHOLE // 2) & (found.weight <= WHOLE)).all()


def test_a_blend_depends_on_seed_image_view_and_block_alone() -> None:
    rows, views = np.arange(12), np.full(12, PLAIN)
    found = blends([5, 7], rows, views)
    order = np.random.default_rng(3).permutation(12)
    asked_otherwise = blends([5, 7], rows[order], views)
    assert np.array_equal(asked_otherwise.partner, found.partner[order])
    assert np.array_equal(asked_otherwise.weight, found.weight[order])
    for other in (blends([5, 7], rows, views, seed=SEED + 1), blends([5, 7], rows, views + 1)):
        assert (other.weight != found.weight).any()
        assert (other.partner != found.partner).any()
    another_block = blends([5, 6, 1], rows, views)
    assert np.array_equal(another_block.partner[:5], found.partner[:5])


def test_partners_and_shares_are_drawn_evenly() -> None:
    rows = np.repeat(np.arange(5), 4000)
    found = blends([5], rows, np.tile(np.arange(PLAIN, PLAIN + 4000), 5))
    for row in range(5):
        counted = np.bincount(found.partner[rows == row], minlength=5)
        assert counted[row] == 0
        assert np.delete(counted, row) == pytest.approx(1000, abs=120)  # over 4 standard deviations
    assert (found.weight / WHOLE).mean() == pytest.approx(0.75, abs=0.005)
    assert {found.weight.min(), found.weight.max()} == {WHOLE // 2, WHOLE}


@given(own=st.integers(0, 255), other=st.integers(0, 255), weight=st.integers(WHOLE // 2, WHOLE))
def test_a_blend_is_the_rounded_mean_and_the_same_in_arrays_and_tensors(own: int, other: int, weight: int) -> None:
    exact = (weight * own + (WHOLE - weight) * other) / WHOLE
    of_array = blend(np.array([own], np.uint16), np.array([other], np.uint16), np.uint16(weight))
    of_tensor = blend(*(torch.tensor([x], dtype=torch.int32) for x in (own, other, weight)))
    assert int(of_array[0]) == int(of_tensor[0]) == int(np.floor(exact + 0.5))


def test_the_whole_of_one_image_is_its_plain_crop() -> None:
    grey = np.arange(256, dtype=np.uint16)
    assert np.array_equal(blend(grey, grey[::-1], np.uint16(WHOLE)), grey)


@pytest.mark.parametrize("size", [16, 48])
def test_a_mixed_view_is_the_blend_of_the_same_view_of_both_images(cache: PixelCache, size: int) -> None:
    crops = cache.crops(ROWS, VIEWS, size).numpy()
    found = cache.blends(ROWS, VIEWS)
    assert found is not None
    own, other = (np.empty((size, size, 3), np.uint8) for _ in range(2))
    for k, partner, weight in zip(found.which, found.partner, found.weight, strict=True):
        for row, out in ((ROWS[k], own), (partner, other)):
            write_crop(IMAGES[row], cache.boxes(np.array([row]), VIEWS[k : k + 1])[0], out)
        expected = np.floor(weight / WHOLE * own + (1 - weight / WHOLE) * other + 0.5)
        assert np.array_equal(crops[k], expected)


def test_plain_views_are_those_of_a_cache_without_mixed_ones(cache: PixelCache) -> None:
    plain = PixelCache(cache.flat, cache._offsets, cache._widths, cache._heights, HASHES, SEED)
    rows, views = np.arange(9), np.arange(9) % PLAIN
    assert cache.blends(rows, views) is None
    assert torch.equal(cache.crops(rows, views, 24), plain.crops(rows, views, 24))
    assert plain.blends(rows, views + PLAIN) is None


def test_threads_change_nothing(cache: PixelCache) -> None:
    with ThreadPoolExecutor(3) as threads:
        assert torch.equal(cache.crops(ROWS, VIEWS, 24, threads), cache.crops(ROWS, VIEWS, 24))


def test_a_gpus_blends_are_the_cpus_within_a_grey_level_in_both_forms(cache: PixelCache) -> None:
    compare(cache, torch.device("cpu"))


def test_on_cuda_blends_are_the_cpus_within_a_grey_level(cache: PixelCache, cuda: torch.device) -> None:
    compare(cache, cuda)


def compare(cache: PixelCache, device: torch.device) -> None:
    for room in (0, len(cache.flat) + spare(cache.widest)):
        pixels = GpuPixels.of(cache, device, room)
        found = pixels.crops(pixels.page(ROWS, VIEWS), 32).cpu()
        assert found.shape == (len(ROWS), 32, 32, 3)
        assert (found.int() - cache.crops(ROWS, VIEWS, 32).int()).abs().max() <= 1
