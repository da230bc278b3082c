"""Images that were generated elsewhere pass the same filter."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from painter import LABELS
from tiny_images import FOUR_CLASSES, write_check

from edgedistill.errors import InputError
from edgedistill.images.synthetic import RECORD
from edgedistill.synthesis.folder_engine import SIZE, generated_in
from edgedistill.synthesis.judge import Judge
from edgedistill.synthesis.stages import Making, synthetic_images
from edgedistill.work.console import SILENT
from edgedistill.work.stage import WorkFolder


def test_what_lies_in_the_folder_of_another_class_does_not_stay(tmp_path: Path, judge: Judge) -> None:
    folder = write_check(tmp_path / "generated", 16, classes=FOUR_CLASSES)
    moved = sorted((folder / "red_disc").iterdir())[0]
    name = os.fsdecode(b"caf\xe9.jpg")  # no UTF-8
    moved.rename(folder / "blue_disc" / name)
    generated = generated_in(folder, LABELS, SILENT)
    source, prompts = generated.source(48), generated.prompts(judge.vectors)
    making = Making(LABELS, prompts, np.arange(16), source, 0)
    found = synthetic_images(WorkFolder(tmp_path / "work"), making, judge, {}, SILENT).path
    record = json.loads((found / RECORD).read_text())
    of_file = {image["prompt"]: image for image in record["images"]}
    assert len(of_file) == 16
    assert of_file[f"blue_disc/{name}"]["weight"] < 0.5
    assert record["engine"]["engine"] == "folder"


def test_a_file_that_cannot_be_read_is_black(tmp_path: Path, judge: Judge) -> None:
    folder = write_check(tmp_path / "generated", 8, classes=FOUR_CLASSES)
    torn = sorted((folder / "red_disc").iterdir())[0]
    torn.write_bytes(torn.read_bytes()[:400])
    generated = generated_in(folder, LABELS, SILENT)
    source, prompts = generated.source(None), generated.prompts(judge.vectors)
    images = source.open().images(prompts, np.arange(len(prompts.texts)), 0)
    assert images.shape == (len(prompts.texts), SIZE, SIZE, 3)
    black = [text for text, image in zip(prompts.texts, images) if not image.any()]
    assert black in ([], [f"red_disc/{torn.name}"])
    assert len(black) + 8 - len(prompts.texts) == 1  # left out at the scan, or black


def test_folders_of_no_class_are_an_error_that_shows_a_name(tmp_path: Path) -> None:
    write_check(tmp_path / "generated", 4, classes=("green disc", "red bars"))
    with pytest.raises(InputError, match=r"no generated image in .* has a class\n.*'red disc'"):
        generated_in(tmp_path / "generated", LABELS, SILENT)
