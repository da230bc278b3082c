"""The check set: written and read back, and every kind of damage named."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgedistill.bundle.checkset import FILES, CheckInfo, CheckSet, read_check, write_check
from edgedistill.errors import EdgeDistillError, InputError


def small_check(count: int = 6) -> CheckSet:
    rng = np.random.default_rng(0)
    teacher = rng.normal(size=(count, 4)).astype(np.float32)
    return CheckSet(
        images=rng.integers(0, 256, (count, 8, 8, 3), dtype=np.uint8),
        teacher=teacher / np.linalg.norm(teacher, axis=1, keepdims=True),
        teacher_class=rng.integers(0, 3, count),
        labels=rng.integers(-1, 3, count),
        info=CheckInfo(images=count, source="--check", skipped={"truncated": 2}, unmatched_folders=("misc",)),
    )


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    written = small_check()
    write_check(tmp_path / "check", written)
    read = read_check(tmp_path / "check", 3)
    for name in ("images", "teacher", "teacher_class", "labels"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert read.info == written.info
    assert isinstance(read.images, np.memmap)
    assert read.labelled.tolist() == [label >= 0 for label in written.labels]


def test_the_same_arrays_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_check(tmp_path / name, small_check())
    for path in sorted((tmp_path / "one").iterdir()):
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize(
    "flawed",
    [
        replace(small_check(), teacher=small_check().teacher * 2),
        replace(small_check(), teacher=np.full((6, 4), np.nan, np.float32)),
        replace(small_check(), images=small_check().images[..., 0]),
        replace(small_check(), labels=small_check().labels.astype(np.int32)),
        replace(small_check(), teacher_class=small_check().teacher_class[:5]),
        replace(small_check(), labels=np.full(6, -2)),
        replace(small_check(), info=CheckInfo(images=7, source="--check")),
    ],
)
def test_a_flawed_check_set_is_not_written(tmp_path: Path, flawed: CheckSet) -> None:
    with pytest.raises(EdgeDistillError, match="flawed"):
        write_check(tmp_path / "check", flawed)
    assert not (tmp_path / "check").exists()


def damage_truncated(folder: Path) -> None:
    path = folder / "images.npy"
    path.write_bytes(path.read_bytes()[:-10])


def damage_missing(folder: Path) -> None:
    (folder / "labels.npy").unlink()


def damage_empty(folder: Path) -> None:
    (folder / "teacher.npy").write_bytes(b"")


def damage_pickled(folder: Path) -> None:
    np.save(folder / "teacher.npy", np.array([{"an": "object"}], dtype=object), allow_pickle=True)


def damage_not_json(folder: Path) -> None:
    (folder / "check.json").write_text("{")


def damage_json_list(folder: Path) -> None:
    (folder / "check.json").write_text("[]")


def damage_unknown_key(folder: Path) -> None:
    stored = json.loads((folder / "check.json").read_text())
    (folder / "check.json").write_text(json.dumps({**stored, "mood": "good"}))


def damage_archive_for_array(folder: Path) -> None:
    with open(folder / "teacher_class.npy", "wb") as file:
        np.savez(file, teacher_class=np.zeros(6, np.int64))


@pytest.mark.parametrize("name", ["teacher_class", "labels"])
def test_a_class_that_the_bundle_does_not_have_is_refused_by_file(tmp_path: Path, name: str) -> None:
    write_check(tmp_path / "check", replace(small_check(), **{name: np.array([0, 1, 2, 2, 1, 3])}))
    assert len(read_check(tmp_path / "check", 4)) == 6
    with pytest.raises(InputError, match=rf"{name}\.npy names class 3, the bundle has 3"):
        read_check(tmp_path / "check", 3)


DAMAGES = [
    damage_truncated,
    damage_missing,
    damage_empty,
    damage_pickled,
    damage_not_json,
    damage_json_list,
    damage_unknown_key,
    damage_archive_for_array,
]


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_a_two_line_error_that_names_the_folder(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    folder = tmp_path / "check"
    write_check(folder, small_check())
    damage(folder)
    with pytest.raises(InputError) as raised:
        read_check(folder, 3)
    assert str(folder) in raised.value.wrong
    assert any(name in raised.value.wrong for name in FILES)
    assert raised.value.todo
