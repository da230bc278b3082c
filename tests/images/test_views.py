"""Views: boxes inside the image, a pure function of seed, content hash and view."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.images.views import RATIO, SCALE, view_box, view_boxes

sides = st.integers(min_value=1, max_value=5000)
hashes = st.binary(min_size=32, max_size=32)
seeds = st.integers(min_value=0, max_value=2**63)
views = st.integers(min_value=0, max_value=64)


def content(k: int) -> bytes:
    return hashlib.sha256(b"%d" % k).digest()


@given(seeds, hashes, views, sides, sides)
def test_every_box_is_inside_the_image_and_not_empty(seed, content_hash, view, width, height):
    box = view_box(seed, content_hash, view, width, height)
    assert 0 <= box.left < box.right <= width
    assert 0 <= box.top < box.bottom <= height


@given(seeds, hashes, sides, sides)
def test_view_0_is_the_centre_square_unflipped(seed, content_hash, width, height):
    box = view_box(seed, content_hash, 0, width, height)
    side = min(width, height)
    assert (box.right - box.left, box.bottom - box.top, box.flip) == (side, side, False)
    assert abs(box.left + box.right - width) <= 1
    assert abs(box.top + box.bottom - height) <= 1


@given(seeds, hashes, st.integers(1, 64), st.integers(200, 4000), st.integers(200, 4000))
def test_crops_keep_to_the_documented_shapes_and_areas(seed, content_hash, view, width, height):
    box = view_box(seed, content_hash, view, width, height)
    ratio = (box.right - box.left) / (box.bottom - box.top)
    assert RATIO[0] * 0.98 <= ratio <= RATIO[1] * 1.02
    largest = min(width, height * ratio)
    assert SCALE[0] * 0.95 <= (box.right - box.left) ** 2 / largest**2 <= 1.03


@given(seeds, st.lists(st.tuples(hashes, views, sides, sides), min_size=2, max_size=12), st.randoms())
def test_neither_the_order_of_views_nor_other_images_matter(seed, asked, random):
    first = {question: view_box(seed, *question) for question in asked}
    random.shuffle(asked)
    assert {question: view_box(seed, *question) for question in asked} == first


def test_a_view_is_the_same_in_every_release():
    assert view_box(0, content(1), 1, 640, 480) == (198, 173, 473, 473, False)


def test_many_boxes_at_once_are_the_boxes_one_by_one() -> None:
    """To the last bit, small and odd sizes included: what a GPU asks for is what the stores hold."""
    random, n = np.random.default_rng(0), 50_000
    contents, asked = random.integers(0, 256, (n, 32), np.uint8), random.integers(0, 20, n)
    widths, heights = np.exp(random.uniform(0, 8.5, (2, n))).astype(np.uint32)  # as a store records them
    boxes = view_boxes(11, contents, asked, widths, heights)
    assert boxes.corners.dtype == np.int64
    questions = zip(contents, asked.tolist(), widths.tolist(), heights.tolist(), strict=True)
    assert [boxes[k] for k in range(n)] == [view_box(11, content.tobytes(), *rest) for content, *rest in questions]


@pytest.mark.parametrize("change", ["seed", "image", "view"])
def test_another_seed_image_or_view_gives_another_crop(change):
    def boxes(seed: int, image: int, view: int) -> list[tuple[int, ...]]:
        return [view_box(seed, content(image + k), view, 640, 480) for k in range(20)]

    other = {"seed": (1, 0, 1), "image": (0, 100, 1), "view": (0, 0, 2)}[change]
    assert not set(boxes(0, 0, 1)) & set(boxes(*other))


def test_draws_cover_the_image_and_flip_half_of_the_time():
    boxes = [view_box(7, content(k), 1, 300, 200) for k in range(2000)]
    assert 0.46 < sum(box.flip for box in boxes) / len(boxes) < 0.54
    centre = sum(box.left + box.right for box in boxes) / len(boxes) / 2
    assert 145 < centre < 155
    assert min(box.left for box in boxes) == 0
    assert max(box.right for box in boxes) == 300
