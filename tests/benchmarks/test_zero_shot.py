"""benchmarks/zero_shot.py: what it calls a class, what it writes down."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import zero_shot


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two class folders, `red_box` with three pictures and `blue_ball` with two, and a file that is no picture."""
    made = tmp_path / "colours"
    for name, colour, count in (("red_box", "red", 3), ("blue_ball", "blue", 2)):
        (made / name).mkdir(parents=True)
        for k in range(count):
            Image.new("RGB", (40 + k, 30), colour).save(made / name / f"{k}.png")
    (made / "blue_ball" / "note.txt").write_text("not a picture")
    return made


def test_classes_are_folder_names_with_spaces(folder: Path):
    files, truth, labels = zero_shot.read_folder(folder)
    assert labels.names == ("blue ball", "red box")
    assert [path.parent.name for path in files] == ["blue_ball"] * 2 + ["red_box"] * 3
    assert truth.tolist() == [0, 0, 1, 1, 1]


def test_synonyms_come_from_the_names_file_of_the_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "colours.txt").write_text("red box | crate\nblue ball\n")
    monkeypatch.setattr(zero_shot, "NAMES", tmp_path)
    _, _, labels = zero_shot.read_folder(folder)
    assert labels.entries[1].words == ("red box", "crate")


def test_a_names_file_for_another_set_is_refused(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "colours.txt").write_text("green box | crate\nblue ball\n")
    monkeypatch.setattr(zero_shot, "NAMES", tmp_path)
    with pytest.raises(SystemExit, match="green box"):
        zero_shot.read_folder(folder)


def test_features_are_computed_once(folder: Path, tmp_path: Path):
    files, _, _ = zero_shot.read_folder(folder)
    calls = []

    def encode(paths):
        calls.append(len(paths))
        return np.ones((len(paths), 3))

    for _ in range(2):
        assert zero_shot.cached(tmp_path / "cache", "key", files, encode).shape == (5, 3)
    assert calls == [5]


def test_a_row_holds_what_the_docs_need(
    folder: Path, tmp_path: Path, tiny_teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "rows.json"
    command = ["zero_shot.py", f"local-dir:{tiny_teacher_folder}", "--data", str(folder), "--json", str(out)]
    monkeypatch.setattr(sys, "argv", [*command, "--cache", str(tmp_path / "cache")])
    zero_shot.main()
    (row,) = json.loads(out.read_text())
    assert row["figure"] == "colours"
    assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
    assert {"unit", "bar", "met", "machine", "command"} <= set(row)
