"""Labelled photos in class folders: found by name, and never what measures."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_images import FOUR_CLASSES, write_check

from edgedistill.errors import InputError
from edgedistill.images.few_shot import gather_few_shot
from edgedistill.images.pool import scan
from edgedistill.labels import Label, Labels
from edgedistill.work.console import SILENT

LABELS = Labels(tuple(Label(name) for name in FOUR_CLASSES))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_check(tmp_path / "shots", 8, seed=3, classes=FOUR_CLASSES)


@pytest.fixture
def check(tmp_path: Path) -> Path:
    return write_check(tmp_path / "check", 4, seed=9, classes=FOUR_CLASSES)


def test_folders_name_the_classes(folder: Path, check: Path) -> None:
    found = gather_few_shot(folder, LABELS, scan(check), SILENT)
    assert np.bincount(found.labels).tolist() == [2, 2, 2, 2]
    for row, label in enumerate(found.labels):
        assert found.pool.name(row).startswith(FOUR_CLASSES[label].replace(" ", "_"))


def test_what_has_no_class_is_left_out_and_said(folder: Path, check: Path, caplog: pytest.LogCaptureFixture) -> None:
    (folder / "blue_disc").rename(folder / "something")
    found = gather_few_shot(folder, LABELS, scan(check), SILENT)
    assert np.bincount(found.labels, minlength=4).tolist() == [2, 2, 0, 2]
    assert "2 few-shot photos lie in no folder of a class" in caplog.text


def test_a_folder_without_classes_is_refused(folder: Path, check: Path) -> None:
    with pytest.raises(InputError, match=r"no few-shot photo in .* has a class"):
        gather_few_shot(folder / "blue_disc", LABELS, scan(check), SILENT)


def test_a_photo_that_is_also_a_check_photo_is_an_error_that_names_it(folder: Path, check: Path) -> None:
    shutil.copy(next((check / "red_disc").iterdir()), folder / "red_disc" / "mine.jpg")
    with pytest.raises(InputError, match=r"shots/red_disc/mine\.jpg is also a check photo\n") as error:
        gather_few_shot(folder, LABELS, scan(check), SILENT)
    assert len(str(error.value).splitlines()) == 2
