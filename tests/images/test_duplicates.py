"""Near-duplicates: both signs must speak of the same check image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from tiny_images import make_photo

from edgedistill.images.duplicates import difference_hash, near_duplicates


class Prints:
    """Difference hashes and features, given outright."""

    def __init__(self, dhash: list[int], features: np.ndarray) -> None:
        self.dhash = np.array(dhash, np.uint64)
        self._features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)

    def centre(self, rows: np.ndarray | None = None) -> np.ndarray:
        return self._features if rows is None else self._features[rows]


def distance(a: int, b: int) -> int:
    return bin(a ^ b).count("1")


def test_the_hash_reads_each_bit_as_darker_than_its_right_neighbour():
    grey = np.tile(np.arange(0, 180, 20, dtype=np.uint8), (8, 1))
    rising = np.repeat(grey[..., None], 3, axis=2)
    assert difference_hash(rising) == 2**64 - 1
    assert difference_hash(rising[:, ::-1].copy()) == 0


def test_the_hash_survives_resizing_and_tells_photos_apart():
    photo = make_photo("red disc", 3, size=(160, 120))
    small = photo.resize((80, 60), Image.Resampling.BICUBIC)
    other = make_photo("blue bars", 4, size=(160, 120))
    first = difference_hash(np.asarray(photo))
    assert distance(first, difference_hash(np.asarray(small))) <= 6
    assert distance(first, difference_hash(np.asarray(other))) > 6


@pytest.mark.parametrize(
    ("bits", "cosine", "near"), [(6, 0.98, True), (7, 0.98, False), (6, 0.96, False), (0, 1.0, True)]
)
def test_both_signs_are_needed(bits, cosine, near):
    pool = Prints([2**bits - 1], np.array([[1.0, 0.0]]))
    check = Prints([0], np.array([[cosine, np.sqrt(1 - cosine**2)]]))
    assert near_duplicates(pool, check).tolist() == [near]


def test_two_half_matches_do_not_make_one():
    pool = Prints([0], np.array([[1.0, 0.0]]))
    check = Prints([0, 2**64 - 1], np.array([[0.0, 1.0], [1.0, 0.0]]))
    assert near_duplicates(pool, check).tolist() == [False]


def test_matrix_products_find_what_pair_by_pair_comparison_finds():
    random = np.random.default_rng(0)
    centres, base = random.normal(size=(5, 16)), random.integers(0, 2**63, 5)

    def prints(n: int) -> Prints:
        kind = random.integers(0, 5, n)
        noise = [sum(1 << int(bit) for bit in random.choice(64, random.integers(0, 6), replace=False)) for _ in kind]
        return Prints(
            [int(base[k]) ^ e for k, e in zip(kind, noise)], centres[kind] + 0.2 * random.normal(size=(n, 16))
        )

    pool, check = prints(83), prints(40)
    expected = [
        any(distance(int(a), int(b)) <= 6 and u @ v > 0.97 for b, v in zip(check.dhash, check.centre(), strict=True))
        for a, u in zip(pool.dhash, pool.centre(), strict=True)
    ]
    assert 0 < sum(expected) < 83
    assert near_duplicates(pool, check, chunk=17).tolist() == expected
