"""The store: one decode an image, the same bytes however it was interrupted, and damage that is named."""

from __future__ import annotations

import filecmp
import json
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_images import make_photo, write_photos

from edgedistill.errors import InputError
from edgedistill.images.crops import write_crop
from edgedistill.images.duplicates import near_duplicates
from edgedistill.images.pool import Pool, scan
from edgedistill.targets.preprocess import decode
from edgedistill.teacher.fill import TeacherPass, build_store
from edgedistill.teacher.journal import BLOCK_KEYS, StoreDamaged
from edgedistill.teacher.store import TeacherStore

PHOTOS, VIEWS, SHORT_SIDE = 150, 4, 40  # three blocks, the last one short
FILES = ("images.bin", "features.f16", "pixels.u8", "store.jsonl")


class TinyTeacher:
    """A real network with the teacher's interface: one convolution and a projection, fixed weights."""

    id, dim, image_size = "tiny", 16, 24

    def __init__(self, before_batch: Callable[[int], None] = lambda batch: None) -> None:
        generator = torch.Generator().manual_seed(0)
        self._filters = torch.randn(8, 3, 6, 6, generator=generator)
        self._projection = torch.randn(8 * 16, self.dim, generator=generator)
        self._before_batch = before_batch
        self.batches: list[int] = []

    def centre(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image.resize((self.image_size, self.image_size)))

    def encode_images(self, images: np.ndarray) -> np.ndarray:
        self._before_batch(len(self.batches))
        self.batches.append(len(images))
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5
        features = torch.conv2d(pixels, self._filters, stride=6).relu().flatten(1) @ self._projection
        return torch.nn.functional.normalize(features, dim=-1).numpy()


def make(folder: Path, pool: Pool, teacher: TinyTeacher | None = None, **changes: Any) -> Path:
    views = {"seed": 3, "views": VIEWS, "short_side": SHORT_SIDE}
    work = TeacherPass(pool, teacher or TinyTeacher(), **{name: changes.pop(name, views[name]) for name in views})
    build_store(folder, work, **{"workers": 2} | changes)
    return folder


def same_bytes(a: Path, b: Path) -> bool:
    assert sorted(path.name for path in a.iterdir()) == sorted(FILES)
    return filecmp.cmpfiles(a, b, FILES, shallow=False)[0] == list(FILES)


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return write_photos(tmp_path_factory.mktemp("pool") / "photos", PHOTOS)


@pytest.fixture(scope="module")
def pool(photos) -> Pool:
    return scan(photos)


@pytest.fixture(scope="module")
def whole(tmp_path_factory, pool) -> Path:
    return make(tmp_path_factory.mktemp("store") / "whole", pool)


@pytest.fixture(scope="module")
def store(whole) -> TeacherStore:
    return TeacherStore.open(whole)


@pytest.fixture
def copy(whole, tmp_path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_rows_are_the_pool_in_its_order(store, pool):
    assert (len(store), store.views, store.dim) == (PHOTOS, VIEWS, TinyTeacher.dim)
    assert np.array_equal(store.hashes, pool.hashes)
    assert store.skipped == {}


def test_pixels_are_the_decoded_image_at_the_short_side(store, pool):
    for row in (0, 77, 149):
        image = decode(pool.read(row)).resize((51, 40), Image.Resampling.BICUBIC, reducing_gap=3.0)
        assert np.array_equal(store.pixels.image(row), np.asarray(image))


def test_view_0_is_the_teachers_own_preprocessing_of_the_file(store, pool):
    teacher = TinyTeacher()
    rows = np.array([0, 64, 149])
    expected = teacher.encode_images(np.stack([teacher.centre(decode(pool.read(row))) for row in rows]))
    assert np.abs(store.centre(rows) - expected).max() < 1e-3


def test_the_teachers_feature_of_the_crop_the_student_gets_is_the_stored_one(store):
    rows, views = np.arange(PHOTOS), 1 + np.arange(PHOTOS) % (VIEWS - 1)
    crops = store.pixels.crops(rows, views, TinyTeacher.image_size).numpy()
    assert np.abs(store.features(rows, views) - TinyTeacher().encode_images(crops)).max() < 1e-3


def test_reading_a_view_twice_gives_the_same_bytes(store, whole):
    again = TeacherStore.open(whole)
    rows, views = np.array([5, 9, 5]), np.array([1, 2, 1])
    assert again.features(rows, views).tobytes() == store.features(rows, views).tobytes()
    assert torch.equal(again.pixels.crops(rows, views, 30), store.pixels.crops(rows, views, 30))


def test_features_are_unit_float32_however_they_are_read(store):
    rows, views = np.array([3, 1, 3, 140]), np.array([0, 2, 3, 1])
    every = store.all_views(rows)
    u, u_mean = store.view_targets(rows, views)
    assert np.array_equal(u, store.features(rows, views))
    assert np.array_equal(u, every[np.arange(4), views])
    mean = store.all_views(rows).mean(axis=1)
    np.testing.assert_allclose(u_mean, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)
    mean = every.astype(np.float64).mean(axis=1)
    assert np.allclose(u_mean, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)
    assert np.array_equal(store.centre(rows), every[:, 0])
    for vectors in (every, u, u_mean, store.centre()):
        assert vectors.dtype == np.float32
        assert np.allclose(np.linalg.norm(vectors, axis=-1), 1, atol=1e-6)


def test_the_mean_feature_is_that_of_the_centre_views(store):
    assert np.allclose(store.mean_feature(chunk=7), store.centre().mean(axis=0), atol=1e-6)
    rows = np.array([2, 4])
    assert np.allclose(store.mean_feature(rows), store.centre(rows).mean(axis=0), atol=1e-6)


def test_names_and_folders_never_reach_the_store(whole, photos, tmp_path):
    for k, path in enumerate(sorted(photos.iterdir(), reverse=True)):
        place = tmp_path / "other" / f"class {k % 7}"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / f"red_disc_{k}.jpg")
    assert same_bytes(make(tmp_path / "store", scan(tmp_path / "other")), whole)


@pytest.mark.parametrize("workers", [1, 5])
def test_neither_bytes_nor_batches_depend_on_the_number_of_threads(whole, pool, tmp_path, workers):
    teacher = TinyTeacher()
    assert same_bytes(make(tmp_path / "store", pool, teacher, workers=workers), whole)
    assert teacher.batches == [64] * 8 + [64, 24]


@pytest.mark.parametrize("change", [{"seed": 4}, {"short_side": 41}])
def test_another_seed_or_short_side_is_another_store(store, pool, tmp_path, change):
    other = TeacherStore.open(make(tmp_path / "store", pool, **change))
    assert np.array_equal(other.hashes, store.hashes)
    crops = [s.pixels.crops(range(PHOTOS), [1] * PHOTOS, 24) for s in (store, other)]
    assert not torch.equal(*crops)


@pytest.mark.parametrize("batch", [0, 3, 5, 9])
def test_a_pass_that_broke_off_goes_on_to_the_same_bytes(whole, pool, tmp_path, batch):
    def break_off(number: int) -> None:
        if number == batch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make(tmp_path / "store", pool, TinyTeacher(break_off))
    with pytest.raises(StoreDamaged, match="not whole"):
        TeacherStore.open(tmp_path / "store")
    teacher = TinyTeacher()
    assert same_bytes(make(tmp_path / "store", pool, teacher), whole)
    assert len(teacher.batches) == 10 - 4 * (batch // 4)  # whole blocks are not done again


def test_a_killed_pass_goes_on_to_the_same_bytes(whole, photos, pool, tmp_path):
    script = (
        "import os, signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "import teacher.test_store as t\n"
        "die = lambda batch: os.kill(os.getpid(), signal.SIGKILL) if batch == 6 else None\n"
        "t.make(Path(sys.argv[3]), t.scan(Path(sys.argv[2])), t.TinyTeacher(die))\n"
    )
    arguments = [str(Path(__file__).parents[1]), str(photos), str(tmp_path / "store")]
    assert subprocess.run([sys.executable, "-c", script, *arguments], check=False).returncode == -9
    lines = (tmp_path / "store" / "store.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert same_bytes(make(tmp_path / "store", pool), whole)


@pytest.mark.parametrize("cut", [1, 40, 300])
@pytest.mark.parametrize("name", FILES)
def test_a_torn_write_is_done_again(whole, copy, pool, name, cut):
    with open(copy / name, "r+b") as file:
        file.truncate((copy / name).stat().st_size - cut)
    assert same_bytes(make(copy, pool), whole)


def test_a_finished_store_is_left_alone(copy, pool):
    teacher = TinyTeacher()
    make(copy, pool, teacher)
    assert teacher.batches == []


def test_what_another_input_left_behind_is_not_gone_on_with(copy, pool, tmp_path):
    assert same_bytes(make(copy, pool, seed=9), make(tmp_path / "fresh", pool, seed=9))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("where", [0.0, 0.3, 0.999])
def test_a_changed_byte_is_found_and_named(copy, name, where):
    with open(copy / name, "r+b") as file:
        file.seek(int((copy / name).stat().st_size * where))
        byte = file.read(1)[0]
        file.seek(-1, 1)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(StoreDamaged) as raised:
        TeacherStore.open(copy)
    wrong, todo = str(raised.value).split("\n")
    assert str(copy / name) in wrong
    assert todo == "Run the same command: it is made again."
    assert raised.value.exit_code == 2


@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_longer_file_is_found_without_reading_it(copy, name):
    with open(copy / name, "ab") as file:
        file.write(b"\0")
    with pytest.raises(StoreDamaged, match=name):
        TeacherStore.open(copy, verify=False)
    (copy / name).unlink()
    with pytest.raises(StoreDamaged, match=name):
        TeacherStore.open(copy, verify=False)


def test_images_that_cannot_be_decoded_are_left_out_and_named(tmp_path):
    folder = write_photos(tmp_path / "photos", 70, seed=2)
    for k in range(20):
        data = (folder / f"{k:05d}.jpg").read_bytes()
        (folder / f"{k:05d}.jpg").write_bytes(data[: len(data) // 2])
    pool = scan(folder)
    teacher = TinyTeacher()
    store = TeacherStore.open(make(tmp_path / "store", pool, teacher))
    assert (len(store), list(store.skipped)) == (50, ["truncated"])
    names = {pool.hashes[row].tobytes().hex(): pool.name(row) for row in range(len(pool))}
    assert sorted(names[digest] for digest in store.skipped["truncated"]) == [f"{k:05d}.jpg" for k in range(20)]
    assert not set(store.skipped["truncated"]) & {row.tobytes().hex() for row in store.hashes}
    rows, views = np.arange(50), np.full(50, 2)
    again = teacher.encode_images(store.pixels.crops(rows, views, teacher.image_size).numpy())
    assert np.abs(store.features(rows, views) - again).max() < 1e-3


def test_more_than_half_undecodable_is_refused(tmp_path):
    folder = write_photos(tmp_path / "photos", 10)
    for k in range(6):
        data = (folder / f"{k:05d}.jpg").read_bytes()
        (folder / f"{k:05d}.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="6 of the 10 files in the pool cannot be used: 6 truncated"):
        make(tmp_path / "store", scan(folder))


def test_what_the_scan_refused_counts_with_what_the_pass_refuses(tmp_path):
    folder = write_photos(tmp_path / "photos", 60)
    for k in range(27):
        (folder / f"{k:05d}.jpg").write_bytes(b"no image")
        data = (folder / f"{k + 27:05d}.jpg").read_bytes()
        (folder / f"{k + 27:05d}.jpg").write_bytes(data[: len(data) // 2])
    pool = scan(folder)  # 45 % bad
    with pytest.raises(InputError, match=r"54 of the 60 files in .*: 27 not an image, 27 truncated"):
        make(tmp_path / "store", pool, tally=pool.tally)


def test_centre_views_are_read_by_the_slice(whole, pool):
    store = TeacherStore.open(whole)
    rows = np.array([5, 2, 9, 0, 7])
    lazy = store.centre_views(rows)
    assert len(lazy) == 5
    assert np.array_equal(lazy[1:5:2], store.centre(rows[1:5:2]))


def test_a_small_disk_is_named_before_the_pass(pool, tmp_path, monkeypatch):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 10**9 - 10**5, 10**5))
    teacher = TinyTeacher()
    with pytest.raises(InputError, match=r"0\.9 MiB needed, 0\.1 MiB free"):
        make(tmp_path / "store", pool, teacher)
    assert teacher.batches == []


def test_a_disk_that_fills_up_on_the_way_says_what_is_missing_and_the_pass_goes_on_later(whole, pool, tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "pixels.u8").symlink_to("/dev/full")
    with pytest.raises(InputError, match="MiB needed"):
        make(tmp_path / "store", pool)
    (tmp_path / "store" / "pixels.u8").unlink()
    assert same_bytes(make(tmp_path / "store", pool), whole)


def test_a_check_set_takes_one_view_and_finds_its_near_duplicates_in_the_pool(store, tmp_path):
    folder = tmp_path / "check"
    folder.mkdir()
    for k in range(4):
        make_photo("red disc", 5000 + k).save(folder / f"new-{k}.jpg")
    twins = [Image.fromarray(store.pixels.image(row)).resize((72, 56), Image.Resampling.BICUBIC) for row in (10, 99)]
    for k, twin in enumerate(twins):
        twin.save(folder / f"twin-{k}.jpg", quality=85)
    check = TeacherStore.open(make(tmp_path / "store", scan(folder), views=1))
    assert check.views == 1
    assert {10, 99} <= set(np.flatnonzero(near_duplicates(store, check)))
    assert near_duplicates(store, check).sum() < PHOTOS / 2


def test_an_empty_pool_makes_an_empty_store(pool, tmp_path):
    store = TeacherStore.open(make(tmp_path / "store", pool.subset(np.arange(0))))
    assert (len(store), store.centre().shape) == (0, (0, TinyTeacher.dim))


def test_the_journal_holds_no_path_and_no_time(whole, pool):
    lines = [json.loads(line) for line in (whole / "store.jsonl").read_text().splitlines()]
    assert set(lines[0]) == {
        "format", "pool", "teacher", "dim", "teacher_size", "views", "seed", "short_side",
    }  # fmt: skip
    assert sum(line["images"] for line in lines[1:-1]) == PHOTOS
    assert all(set(line) == BLOCK_KEYS for line in lines[1:-1])


def test_a_real_teacher_fills_the_store(tiny_teacher, pool, tmp_path):
    few = pool.subset(np.arange(9))
    store = TeacherStore.open(make(tmp_path / "store", few, tiny_teacher, short_side=50))
    rows, views = np.arange(9), np.full(9, 3)
    crops = store.pixels.crops(rows, views, tiny_teacher.image_size)
    assert np.abs(store.features(rows, views) - tiny_teacher.encode_images(crops)).max() < 2e-3


def test_the_first_views_are_a_store_of_their_own(store):
    rows = np.array([3, 1, 140])
    narrow = store.first_views(2)
    assert (narrow.views, store.views) == (2, 4)
    assert np.array_equal(narrow.all_views(rows), store.all_views(rows)[:, :2])
    mean = store.all_views(rows)[:, :2].mean(axis=1)
    np.testing.assert_allclose(narrow.mean_views(rows), mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)
    assert np.array_equal(narrow.mean_views(rows, chunk=2), narrow.mean_views(rows))


MIX = 3


def make_mixed(folder: Path, pool: Pool, teacher: TinyTeacher | None = None, **changes: Any) -> Path:
    work = TeacherPass(pool, teacher or TinyTeacher(), views=VIEWS, seed=3, short_side=SHORT_SIDE, mix=MIX)
    build_store(folder, work, **{"workers": 2} | changes)
    return folder


@pytest.fixture(scope="module")
def mixed_pool(tmp_path_factory) -> Pool:
    """Two blocks; two files cannot be decoded."""
    folder = write_photos(tmp_path_factory.mktemp("mixed") / "photos", 100)
    whole = scan(folder)
    for row in (3, 40):
        data = (folder / whole.name(row)).read_bytes()
        (folder / whole.name(row)).write_bytes(data[: len(data) // 2])
    return scan(folder)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory, mixed_pool) -> Path:
    return make_mixed(tmp_path_factory.mktemp("store") / "mixed", mixed_pool)


def test_the_teachers_feature_of_a_blend_is_that_of_its_pixels_and_not_the_blend_of_two(mixed):
    store = TeacherStore.open(mixed)
    assert (len(store), store.views, store.plain_views) == (98, VIEWS + MIX, VIEWS)
    rows, views = np.repeat(np.arange(98), VIEWS + MIX - 1), np.tile(np.arange(1, VIEWS + MIX), 98)
    crops = store.pixels.crops(rows, views, TinyTeacher.image_size).numpy()
    stored = store.features(rows, views)
    assert np.abs(stored - TinyTeacher().encode_images(crops)).max() < 1e-3
    found = store.pixels.blends(rows, views)
    share = (found.weight / 256)[:, None]
    own, other = (store.features(which, np.ones_like(which)) for which in (rows[found.which], found.partner))
    assert np.abs(stored[found.which] - (share * own + (1 - share) * other)).max() > 0.05


def test_plain_views_and_pixels_of_a_store_are_the_same_with_mixed_views_and_without(mixed, mixed_pool, tmp_path):
    """To the last digit of float16: the tower sees them in the same batches."""
    plain, store = TeacherStore.open(make(tmp_path / "plain", mixed_pool)), TeacherStore.open(mixed)
    assert np.array_equal(store.stored_features[:, :VIEWS], plain.stored_features)
    for name in ("images.bin", "pixels.u8"):
        assert filecmp.cmp(mixed / name, tmp_path / "plain" / name, shallow=False)
    assert "mix" not in plain.inputs
    assert store.inputs == {**plain.inputs, "mix": MIX}


def test_the_mean_is_over_plain_views_and_a_mixed_view_is_its_own(mixed):
    store = TeacherStore.open(mixed)
    rows, views = np.array([4, 4, 9, 97]), np.array([0, VIEWS - 1, VIEWS, VIEWS + MIX - 1])
    u, u_mean = store.view_targets(rows, views)
    assert np.array_equal(u, store.features(rows, views))
    assert np.array_equal(u_mean[2:], u[2:])
    every = store.stored_features[rows].astype(np.float64)
    every /= np.linalg.norm(every, axis=-1, keepdims=True)
    mean = every[:2, :VIEWS].mean(axis=1)
    np.testing.assert_allclose(u_mean[:2], mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)
    assert store.all_views(rows).shape == (4, VIEWS, TinyTeacher.dim)


@pytest.mark.parametrize("workers", [1, 5])
def test_a_mixed_store_has_the_same_bytes_for_any_number_of_threads(mixed, mixed_pool, tmp_path, workers):
    assert same_bytes(make_mixed(tmp_path / "store", mixed_pool, workers=workers), mixed)


@pytest.mark.parametrize("batch", [0, 4, 6, 9])
def test_a_mixed_pass_that_broke_off_goes_on_to_the_same_bytes(mixed, mixed_pool, tmp_path, batch):
    """A block's last batches are its mixed views: broken off there, too."""

    def break_off(number: int) -> None:
        if number == batch:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_mixed(tmp_path / "store", mixed_pool, TinyTeacher(break_off))
    teacher = TinyTeacher()
    assert same_bytes(make_mixed(tmp_path / "store", mixed_pool, teacher), mixed)
    assert len(teacher.batches) == (7 + 5 if batch < 7 else 5)  # 4 + 3 batches of the first block, 3 + 2 of the second


def test_a_killed_mixed_pass_goes_on_to_the_same_bytes(mixed, mixed_pool, tmp_path):
    script = (
        "import os, signal, sys; from pathlib import Path; sys.path.insert(0, sys.argv[1])\n"
        "import teacher.test_store as t\n"
        "die = lambda batch: os.kill(os.getpid(), signal.SIGKILL) if batch == 10 else None\n"
        "t.make_mixed(Path(sys.argv[3]), t.scan(Path(sys.argv[2])), t.TinyTeacher(die))\n"
    )
    arguments = [str(Path(__file__).parents[1]), str(mixed_pool.folder), str(tmp_path / "store")]
    assert subprocess.run([sys.executable, "-c", script, *arguments], check=False).returncode == -9
    assert len((tmp_path / "store" / "store.jsonl").read_text().splitlines()) == 2
    assert same_bytes(make_mixed(tmp_path / "store", mixed_pool), mixed)


def test_an_image_alone_in_its_store_is_blended_with_itself(pool, tmp_path):
    store = TeacherStore.open(make_mixed(tmp_path / "store", pool.subset(np.array([7]))))
    row, view = np.array([0]), np.array([VIEWS])
    alone = store.pixels.boxes(row, view)[0]
    crop = np.empty((20, 20, 3), np.uint8)
    write_crop(store.pixels.image(0), alone, crop)
    assert np.array_equal(store.pixels.crops(row, view, 20)[0].numpy(), crop)
