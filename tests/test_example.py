"""The example as it is shipped: its teacher, its start and its pictures go through the whole line, in-process."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tiny_build import write_profile

from edgedistill.line import build
from edgedistill.settings import BuildSettings
from edgedistill.verdict.verdict import Verdict

EXAMPLES = Path(__file__).parents[1] / "examples"
POOL, CHECK_A_CLASS, SIZE = 64, 12, 96


@pytest.fixture(scope="module")
def verdict(tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """The verdict of a short build from 64 pictures of the pool, measured on 12 check pictures a class."""
    folder = tmp_path_factory.mktemp("example")
    (folder / "pool").mkdir()
    for picture in sorted((EXAMPLES / "parts" / "pool").iterdir())[:POOL]:
        shutil.copy(picture, folder / "pool")
    for family in sorted((EXAMPLES / "parts" / "check").iterdir()):
        (folder / "check" / family.name).mkdir(parents=True)
        for picture in sorted(family.iterdir())[:CHECK_A_CLASS]:
            shutil.copy(picture, folder / "check" / family.name)
    return build(
        BuildSettings(
            profile=str(write_profile(folder / "quick.toml", input_size=str(SIZE))),
            classes=EXAMPLES / "parts" / "labels.txt",
            images=folder / "pool",
            check=folder / "check",
            teacher=f"local-dir:{EXAMPLES / 'teacher'}",
            teacher_dtype="float32",
            student_weights=str(EXAMPLES / "start"),
            student_dtype="float32",
            views=2,
            epochs=2,
            threads=1,
            work=folder / "work",
            out=folder / "bundle",
        )
    )


def test_the_example_teacher_names_parts_it_sees_under_lamps_it_never_saw(verdict: Verdict) -> None:
    assert verdict.accuracy is not None
    assert verdict.accuracy.images == 6 * CHECK_A_CLASS
    assert verdict.accuracy.teacher >= 0.85


def test_the_start_begins_far_above_chance_and_its_figures_stand_beside_the_result(verdict: Verdict) -> None:
    assert verdict.start is not None
    assert verdict.start.agreement >= 0.33  # chance is one in six


def test_a_verdict_is_reached(verdict: Verdict) -> None:
    assert verdict.verdict in ("pass", "fail")
    assert verdict.agreement is not None
    assert verdict.agreement.images == 6 * CHECK_A_CLASS


def test_the_start_is_the_student_the_demo_names() -> None:
    card = json.loads((EXAMPLES / "start" / "student.json").read_text())
    assert card["name"] == "tf_mobilenetv3_small_100"


def test_the_weights_are_small_enough_to_be_cloned() -> None:
    sizes = {
        name: sum(path.stat().st_size for path in (EXAMPLES / name).iterdir() if path.is_file())
        for name in ("teacher", "start")
    }
    assert sizes["teacher"] <= 30e6
    assert sizes["start"] <= 6e6
