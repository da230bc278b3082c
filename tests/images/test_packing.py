"""Packed images: cut out of one buffer as out of themselves."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from tiny_cache import cache_of

from edgedistill.images.crops import cut
from edgedistill.images.packing import pack
from edgedistill.images.views import view_boxes

CPU = torch.device("cpu")


def ragged(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(count)
    return [random.integers(0, 256, (*random.integers(1, 90, 2), 3), np.uint8) for _ in range(count)]


def test_images_lie_one_after_another_for_any_number_of_threads() -> None:
    images = ragged(40)
    packed = pack(images, CPU)
    for image, start, width, height in zip(images, packed.starts, packed.widths, packed.heights, strict=True):
        assert image.shape == (height, width, 3)
        assert np.array_equal(packed.pixels[start : start + image.size].numpy(), image.ravel())
    with ThreadPoolExecutor(3) as threads:
        shared = pack(images, CPU, threads)
    total = sum(image.size for image in images)
    assert np.array_equal(shared.pixels[:total], packed.pixels[:total])


def test_views_of_freshly_decoded_images_are_those_of_the_cache() -> None:
    images = ragged(6)
    which, views = np.repeat(np.arange(6), 3), np.tile([1, 2, 3], 6)
    hashes = np.random.default_rng(0).integers(0, 256, (6, 32), dtype=np.uint8)  # those of cache_of
    packed = pack(images, CPU).to(CPU)
    boxes = view_boxes(9, hashes[which], views, packed.widths[which], packed.heights[which])
    found = cut(packed.pixels, packed.cuts(which, boxes), 32)
    expected = cache_of(images, seed=9).crops(which, views, 32)
    assert (found.int() - expected.int()).abs().max() <= 1


def test_a_whole_image_is_cut_and_mirrored() -> None:
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    packed = pack([image, image], CPU)
    plain, mirrored = cut(packed.pixels, packed.whole(np.array([False, True])), 4).numpy()
    assert np.array_equal(plain, image)
    assert np.array_equal(mirrored, image[:, ::-1])


def test_no_images_make_an_empty_pack() -> None:
    packed = pack([], CPU)
    assert cut(packed.pixels, packed.whole(np.zeros(0, bool)), 8).shape == (0, 8, 8, 3)
