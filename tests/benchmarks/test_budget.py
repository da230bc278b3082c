"""benchmarks/budget.py: nothing built twice, answers of the very student that was shipped, gains for paired answers."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from edgedistill.work.atomic import sha256_file

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import budget

LABELS, TEACHER = [0, 0, 1, 1, 1, -1], [0, 0, 0, 1, 0, 1]
ANSWERS = {"x1 V8": [0, 1, 1, 0, 0, 0], "x5 V16": [0, 0, 1, 1, 0, 1]}  # the 4 that are right of 5 hold the 2


def finished(work: Path, name: str, cell: str, answers: list[int]) -> None:
    """What `figures` reads of a bundle that was built at 32 px with seed 0, and of the stages behind it."""
    bundle = work / f"{name}-32-{cell.replace(' ', '-')}-0"
    trained, answered = (work / "stages" / f"{stage}-{bundle.name}" for stage in ("distil", "answers"))
    for folder in (bundle / "check", trained, answered):
        folder.mkdir(parents=True)
    weights = trained / "student.safetensors"
    weights.write_text(bundle.name)
    (answered / "inputs.json").write_text(json.dumps({"student": trained.name}))
    (answered / "answers.json").write_text(json.dumps({"before": None, "after": answers}))
    (bundle / "manifest.json").write_text(json.dumps({"files": {weights.name: sha256_file(weights)}}))
    np.save(bundle / "check/labels.npy", LABELS)
    np.save(bundle / "check/teacher_class.npy", TEACHER)


def photo_folder(folder: Path) -> Path:
    """Two class folders of two files each."""
    for kind in ("ball", "box"):
        (folder / kind).mkdir(parents=True)
        for k in range(2):
            (folder / kind / f"{k}.png").write_text(f"{kind} {k}")
    return folder


def test_the_answers_are_those_of_the_bundles_own_student(built_folder: Path) -> None:
    """Of a real build: as often right, and as often with its teacher, as its verdict says."""
    right, same = budget.answered(built_folder / "bundle", built_folder / "work")
    verdict = json.loads((built_folder / "bundle/verdict.json").read_text())
    assert (right.mean(), same.mean()) == (verdict["accuracy"]["student"], verdict["agreement"]["value"])


def test_a_cell_is_compared_with_the_smallest_budget_photo_by_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sets are built already: one gains two photos of five, the other none."""
    work, out = tmp_path / "work", tmp_path / "rows.json"
    for cell, answers in ANSWERS.items():
        finished(work, "parts", cell, answers)
        finished(work, "toys", cell, ANSWERS["x5 V16"])
    words = ["--data", photo_folder(tmp_path / "toys"), "--cells", *ANSWERS, "--input-size", 32]
    monkeypatch.setattr(sys, "argv", ["budget.py", *map(str, [*words, "--work", work, "--json", out])])
    budget.main()
    found = {row["figure"]: (row["value"], row["low"], row["high"], row["unit"]) for row in json.loads(out.read_text())}
    assert {figure: value for figure, (value, *_) in found.items()} == pytest.approx(
        {
            "parts/x1 V8 accuracy": 0.4,
            "parts/x1 V8 agreement": 0.4,
            "parts/x5 V16 accuracy": 0.8,
            "parts/x5 V16 agreement": 0.8,
            "parts/x5 V16 gain": 40,
            "toys/x1 V8 accuracy": 0.8,
            "toys/x1 V8 agreement": 0.8,
            "toys/x5 V16 accuracy": 0.8,
            "toys/x5 V16 agreement": 0.8,
            "toys/x5 V16 gain": 0,
            "mean/x5 V16 gain": 20,
        }
    )
    assert found["mean/x5 V16 gain"][1:] == (0, pytest.approx(40), "points")
    assert found["parts/x5 V16 gain"][1:3] == pytest.approx((-2.9, 82.9), abs=0.1)  # 1.96 * sqrt(2 - 4 / 5) / 5


def test_a_build_that_stops_ends_the_script_with_the_builds_own_message(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The words are those of `edgedistill build`: it refuses none but the size, which is too small."""
    (tmp_path / "photos/pool").mkdir(parents=True)
    (tmp_path / "photos/pool/one.png").touch()
    options = argparse.Namespace(input_size=8, threads=1, train_on="cpu", work=tmp_path / "work")
    with pytest.raises(SystemExit) as stopped:
        budget.build(tmp_path / "photos", "toys", "x5 V16", 0, options)
    assert stopped.value.code == 2
    assert "--input-size is 8" in capfd.readouterr().err
