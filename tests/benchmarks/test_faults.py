"""benchmarks/faults.py: what counts as a fault that was stood, and what a table line says of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import fault_builds
import faults
from fault_builds import Build, Fault, is_clear


@pytest.fixture
def build(tmp_path: Path) -> Build:
    return Build(tmp_path / "inputs", tmp_path / "teacher", tmp_path / "place")


@pytest.mark.parametrize(
    ("counts", "left", "held"),
    [((3, 3, 3), [], True), ((2, 3, 3), [], False), ((3, 2, 3), [], False), ((3, 3, 2), [], False),
     ((3, 3, 3), ["tmp/x"], False), ((0, 0, 0), [], False)],
)  # fmt: skip
def test_a_fault_is_stood_when_every_try_was_and_nothing_is_left(
    counts: tuple[int, int, int], left: list[str], held: bool
) -> None:
    clear, went_on, equal = counts
    tries = 3 if any(counts) else 0
    assert Fault("a", "b", tries=tries, clear=clear, went_on=went_on, equal=equal, left=left).held is held


@pytest.mark.parametrize(
    ("words", "code", "said", "clear"),
    [
        ("  scan  160\nerror: no room for {place}/x\nFree some space.\n", 2, "no room for x / Free some", True),
        ("\ninterrupted\nRun the same command again.\n", 2, "interrupted / Run the same", True),
        ("Traceback (most recent call last):\n  x\nValueError: y\n", 1, "a traceback: ValueError: y", False),
        ("error: torn\n", 2, "error: torn", False),
        ("", -9, "", False),
    ],
)
def test_the_two_lines_are_found(build: Build, words: str, code: int, said: str, clear: bool) -> None:
    build.said_in.write_text(words.format(place=build.place))
    assert said in build.said()
    assert is_clear(build, code) is clear


def test_the_stage_under_way_is_told_by_what_lies_there(build: Build) -> None:
    for stage, pattern in fault_builds.STAGES.items():
        (build.place / pattern.replace("*", "x")).mkdir(parents=True)
        assert build.at() == stage


def test_what_is_left_is_named_and_what_belongs_there_is_not(build: Build) -> None:
    for name in ("tmp", "work/store-1", "out/bundle/results"):
        (build.place / name).mkdir(parents=True)
    (build.work / ".lock").touch()
    assert build.files_left() == set()
    for name in ("tmp/a", "work/.scratch-b", "out/.bundle.c.part", "out/bundle/results/.edgedistill-scratch-d"):
        (build.place / name).mkdir()
    left = {"tmp/a", "work/.scratch-b", "out/.bundle.c.part", "bundle/results/.edgedistill-scratch-d"}
    assert build.files_left() == left


def test_a_part_that_was_refused_says_why() -> None:
    assert "not run: mount is refused" in faults.line(Fault("a", "b", skipped="mount is refused"))
