"""The pool: named by content, blind to names and folders, patient with what is no image."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_images import make_photo, write_check, write_photos

from edgedistill.errors import InputError
from edgedistill.images.pool import scan, scan_check, split_size
from edgedistill.labels import Label, Labels


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return write_photos(tmp_path_factory.mktemp("pool") / "photos", 24)


@pytest.fixture
def folder(tmp_path) -> Path:
    return write_photos(tmp_path / "photos", 6)


def test_images_are_in_the_order_of_their_content_hashes(photos):
    pool = scan(photos)
    files = [path.read_bytes() for path in photos.iterdir()]
    assert [row.tobytes() for row in pool.hashes] == sorted(hashlib.sha256(data).digest() for data in files)
    assert {pool.read(row) for row in range(len(pool))} == set(files)
    assert hashlib.sha256((photos / pool.name(3)).read_bytes()).digest() == pool.hashes[3].tobytes()


def test_renamed_and_refoldered_files_are_the_same_pool(photos, tmp_path):
    for k, path in enumerate(sorted(photos.iterdir())):
        place = tmp_path / "other" / f"class {k % 5}" / ("deep" if k % 2 else "")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / f"red_disc_{99 - k}.png")
    before, after = scan(photos), scan(tmp_path / "other")
    assert after.fingerprint == before.fingerprint
    assert np.array_equal(after.hashes, before.hashes)
    assert [after.read(row) for row in range(24)] == [before.read(row) for row in range(24)]


def test_copies_count_once(folder):
    shutil.copy(folder / "00000.jpg", folder / "copy.jpg")
    pool = scan(folder)
    assert (len(pool), pool.duplicates) == (6, 1)


def test_what_is_no_image_is_skipped_with_its_reason(folder):
    (folder / "notes.jpg").write_text("not a picture")
    (folder / "empty.jpg").write_bytes(b"")
    make_photo("red disc", 0, size=(40, 12)).save(folder / "thin.png")
    os.mkfifo(folder / "pipe.jpg")
    os.symlink("round.jpg", folder / "round.jpg")
    pool = scan(folder)
    assert len(pool) == 6
    assert pool.skipped == {
        "not an image": ["empty.jpg", "notes.jpg"],
        "side under 16 px": ["thin.png"],
        "not a regular file": ["pipe.jpg"],
        "unreadable": ["round.jpg"],
    }


def test_what_describes_photos_is_no_photo_that_is_broken(folder):
    before = scan(folder)
    for name in ("00000.txt", "00000.XML", "coco.json", "classes.names", "00001.jpg.xmp", "Thumbs.db", "README.md"):
        (folder / name).write_text("6 0.5 0.5 0.1 0.1")
    after = scan(folder)
    assert (after.fingerprint, after.skipped) == (before.fingerprint, {})


def test_folders_that_a_file_system_gives_no_number_are_told_apart_by_their_paths(folder, monkeypatch):
    """As FUSE and network shares give them: inode 0 for every folder. The stat alone is made up."""
    for name in ("one", "two"):
        write_photos(folder / name, 2, seed=ord(name[0])) if name == "one" else shutil.copytree(folder, folder / name)
    os.symlink(folder, folder / "one" / "round")
    numbered, real = scan(folder), os.stat

    def without_number(path, **options):
        facts = list(real(path, **options))
        return os.stat_result([facts[0], 0, *facts[2:]])

    monkeypatch.setattr("edgedistill.images.pool.os.stat", without_number)
    assert scan(folder).fingerprint == numbered.fingerprint
    assert scan(folder).skipped == numbered.skipped == {"link loop": [os.path.join("one", "round")]}


def test_the_scan_changes_no_filter_of_the_program_and_names_what_reads_heic(folder):
    iphone = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400)
    (folder / "IMG_0001.HEIC").write_bytes(iphone)
    (folder / "IMG_0002.jpg").write_bytes(iphone + b"2")
    make_photo("red disc", 0).save(folder / "drawing.tga")
    program = (
        "import sys, warnings\nfrom pathlib import Path\nsys.modules['pillow_heif'] = None\n"
        "from edgedistill.images.pool import scan\n"
        f"before = list(warnings.filters); pool = scan(Path({str(folder)!r}))\n"
        "print(pool.skipped, list(warnings.filters) == before)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    skipped = {"HEIC needs pillow-heif": ["IMG_0001.HEIC", "IMG_0002.jpg"], "not an image": ["drawing.tga"]}
    assert done.stdout == f"{skipped} True\n"


def test_linked_folders_are_followed_and_link_loops_are_not(folder, tmp_path):
    elsewhere = write_photos(tmp_path / "elsewhere", 3, seed=1)
    (folder / "more").mkdir()
    os.symlink(elsewhere, folder / "more" / "linked")
    os.symlink(folder, folder / "more" / "up")
    pool = scan(folder)
    assert len(pool) == 9
    assert pool.skipped == {"link loop": [os.path.join("more", "up")]}


def test_hidden_files_and_folders_are_passed_over(folder):
    (folder / "._00000.jpg").write_bytes(b"resource fork")
    write_photos(folder / ".thumbnails", 2, seed=3)
    pool = scan(folder)
    assert (len(pool), pool.skipped) == (6, {})


def test_a_name_that_is_not_utf8_is_read_like_any_other(folder):
    os.rename(folder / "00001.jpg", os.path.join(os.fsencode(folder), b"caf\xe9.jpg"))
    pool = scan(folder)
    assert len({pool.read(row) for row in range(len(pool))}) == 6


@pytest.mark.parametrize("missing", ["nowhere", "file"])
def test_a_path_that_is_no_folder_is_named(tmp_path, missing):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=missing):
        scan(tmp_path / missing)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(InputError, match="no usable image"):
        scan(tmp_path)
    (tmp_path / "notes.jpg").write_text("text")
    with pytest.raises(InputError, match="1 not an image"):
        scan(tmp_path)


def test_more_than_half_bad_is_refused_and_half_is_not(folder):
    for k in range(6):
        (folder / f"{k}.jpg").write_text("text")
    assert len(scan(folder)) == 6
    (folder / "6.jpg").write_text("text")
    with pytest.raises(InputError, match="7 of the 13 files"):
        scan(folder)


@pytest.mark.parametrize("change", ["rewrite", "remove"])
def test_a_file_that_changes_after_the_scan_is_an_error(folder, change):
    pool = scan(folder)
    path = folder / pool.name(2)
    path.write_bytes(b"other") if change == "rewrite" else path.unlink()
    with pytest.raises(InputError, match="changed while"):
        pool.read(2)


@pytest.mark.parametrize(
    ("images", "held_out"), [(4, 1), (400, 100), (900, 200), (1500, 200), (4000, 400), (50_000, 1000)]
)
def test_a_tenth_is_held_out_within_limits(images, held_out):
    assert split_size(images) == held_out


@given(st.integers(0, 2_000_000))
def test_never_more_than_a_quarter_is_held_out(images):
    assert 0 <= split_size(images) <= min(images / 4, 1000)


def test_the_split_takes_the_lowest_hashes_and_every_image_once(photos):
    pool = scan(photos)
    train, check = pool.split()
    assert (len(train), len(check)) == (18, 6)
    assert np.array_equal(np.concatenate([check.hashes, train.hashes]), pool.hashes)
    assert train.read(0) == pool.read(6)


def test_pool_images_that_are_check_images_are_dropped_and_counted(photos, tmp_path):
    check = write_photos(tmp_path / "check", 4, seed=9)
    for name in ("00003.jpg", "00011.jpg"):
        shutil.copy(photos / name, check / f"other-{name}")
    kept, dropped = scan(photos).without(scan(check))
    assert (len(kept), dropped) == (22, 2)
    assert not {row.tobytes() for row in kept.hashes} & {row.tobytes() for row in scan(check).hashes}
    assert np.array_equal(kept.hashes, np.sort(kept.hashes.view("S32"), axis=0).view(np.uint8))


@pytest.fixture
def labels() -> Labels:
    return Labels((Label("red disc", ("brick",)), Label("green bars", ())))


def test_check_folders_are_matched_to_names_and_synonyms(tmp_path, labels):
    for place, name in [("Red_Disc", "red disc"), ("brick", "red disc"), ("green-bars", "green bars")]:
        (tmp_path / place / "deeper").mkdir(parents=True)
        make_photo(name, len(place)).save(tmp_path / place / "deeper" / "x.png")
    (tmp_path / "purple_cone").mkdir()
    make_photo("blue disc", 1).save(tmp_path / "purple_cone" / "x.png")
    make_photo("blue disc", 2).save(tmp_path / "loose.png")
    check = scan_check(tmp_path, labels)
    by_name = {check.pool.name(row).split(os.sep)[0]: int(check.labels[row]) for row in range(5)}
    assert by_name == {"Red_Disc": 0, "brick": 0, "green-bars": 1, "purple_cone": -1, "loose.png": -1}
    assert check.unmatched_folders == ("purple_cone",)
    assert check.labels.dtype == np.int64


def test_one_image_under_two_classes_has_no_label(tmp_path, labels):
    write_check(tmp_path, 4, classes=("red disc", "green bars"))
    shutil.copy(tmp_path / "red_disc" / "00000.jpg", tmp_path / "green_bars" / "copy.jpg")
    shutil.copy(tmp_path / "red_disc" / "00002.jpg", tmp_path / "red_disc" / "copy.jpg")
    check = scan_check(tmp_path, labels)
    assert sorted(check.labels) == [-1, 0, 1, 1]
    assert check.pool.duplicates == 2


def test_a_large_check_set_is_cut_to_the_lowest_hashes(tmp_path, labels):
    write_check(tmp_path, 12, classes=("red disc", "green bars"))
    whole, part = scan_check(tmp_path, labels), scan_check(tmp_path, labels, limit=5)
    assert part.left_out == 7
    assert np.array_equal(part.pool.hashes, whole.pool.hashes[:5])
    assert np.array_equal(part.labels, whole.labels[:5])
