"""benchmarks/study.py: figures from rows alone, paired; nothing run twice; the page says what was missed."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import study
import study_arms
import study_page
from study_figures import Line, append, difference, holm, packed, read
from study_runs import Arm, Run


def line(arm: str, right: np.ndarray, where: str = "trashnet", seed: int = 0, part: str = "methods") -> Line:
    return Line(
        part=part,
        arm=arm,
        set=where,
        seed=seed,
        size=96,
        image_steps=1000,
        trained=100,
        epochs=10,
        seconds=1.5,
        photos=len(right),
        accuracy=float(right.mean()),
        agreement=0.5,
        accuracies="",
        machine="a machine",
        right=packed(right),
    )


def answers(share: float, photos: int = 403, seed: int = 0) -> np.ndarray:
    """`share` of the photos, always the same first ones for less and for more."""
    return np.random.default_rng(seed).random(photos) < share


def test_rows_are_read_as_they_were_written(tmp_path: Path) -> None:
    rows = [line("kd", answers(0.5)), line("default", answers(0.6), seed=1)]
    append(tmp_path / "results.csv", rows[:1])
    append(tmp_path / "results.csv", rows[1:])
    assert read(tmp_path / "results.csv") == rows
    assert np.array_equal(read(tmp_path / "results.csv")[0].hits(), answers(0.5))
    assert read(tmp_path / "none.csv") == []


def test_a_difference_is_paired_photo_by_photo() -> None:
    """Six points that are the same photos in every draw: the interval is far narrower than of two unpaired shares."""
    found = difference([line("a", answers(0.56))], [line("b", answers(0.50))])
    assert found.value == pytest.approx(100 * (answers(0.56).mean() - answers(0.50).mean()))
    assert 0 < found.low < found.value < found.high
    assert found.high - found.low < 6
    assert found.p < 0.01
    same = difference([line("a", answers(0.5))], [line("b", answers(0.5))])
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_a_seed_that_only_one_side_ran_does_not_count() -> None:
    right, wrong = np.ones(50, bool), np.zeros(50, bool)
    mine = [line("a", right, seed=0), line("a", wrong, seed=1)]
    assert difference(mine, [line("b", wrong, seed=0)]).value == 100
    assert difference(mine, [line("teacher", wrong, seed=-1)]).value == 50


def test_sets_count_alike_and_seeds_are_averaged() -> None:
    small, large = answers(1.0, 50), answers(1.0, 5000)
    mine = [line("a", small), line("a", ~small, seed=1), line("a", large, "parts")]
    none = [line("t", ~small, seed=-1), line("t", ~large, "parts", seed=-1)]
    found = difference(mine, none)
    assert found.sets == {"trashnet": 50.0, "parts": 100.0}
    assert found.value == 75.0
    with pytest.raises(ValueError, match="no set in common"):
        difference(mine, [line("t", small, "elsewhere")])


def test_holm_multiplies_by_how_many_are_left_and_never_falls() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    assert holm({"a": 0.9, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_95_percent_of_the_end_is_reached_once() -> None:
    curve = dataclasses.replace(line("kd", answers(0.5)), accuracies="0.2 0.48 0.3 0.4751 0.5")
    assert study_page.first_at(curve) == 2


def test_the_page_says_what_was_met_and_what_was_missed(tmp_path: Path) -> None:
    assert "Not run yet." in "\n".join(study_page.page([], "study"))
    sets, rows = ("parts", "trashnet"), []
    for name in sets:
        rows += [line("teacher", answers(0.5), name, -1), line("start", answers(0.2), name, -1)]
        rows += [line(study_arms.DEFAULT, answers(0.6), name), line("kd", answers(0.5), name)]
    rows.append(line("eikd", answers(0.75), "parts"))
    text = "\n".join(study_page.page(rows, "study"))
    assert "| default | 1 | 0.5" in text.replace("0.6", "0.5")
    assert text.count("| met |") == 3  # the mean, the worst set, kd
    assert "default not below eikd" in text
    assert "**missed**" in text
    assert "Not run at this size: " in text
    assert "; promptkd; " in text


def test_the_table_of_methods_is_of_one_size_alone() -> None:
    rows = [line("teacher", answers(0.5), "parts", -1), line(study_arms.DEFAULT, answers(0.6), "parts")]
    larger = [dataclasses.replace(line("teacher", answers(0.5), "parts", -1), size=128)]
    larger.append(dataclasses.replace(line(study_arms.DEFAULT, answers(0.9), "parts"), size=128))
    rows.append(line("kd", answers(0.5), "parts"))
    assert {one.size for one in study_page.fullest(rows + larger)} == {rows[0].size}
    assert {one.size for one in study_page.fullest(rows[:2] + larger)} == {128}
    assert list(study_page.method_table(rows + larger, {})) == list(study_page.method_table(rows, {}))


def test_a_run_with_a_row_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool is asked for nothing: every run of the list has its row."""
    monkeypatch.setattr(study.study_runs, "set_of", lambda folder: type("Set", (), {"name": folder.name}))
    scale = dataclasses.replace(study.SCALES["cpu"], size=96, image_steps=1000)
    results = tmp_path / "results.csv"
    append(results, [line("kd", answers(0.5))])
    monkeypatch.setattr(study, "ProcessPoolExecutor", Nobody)
    study.work(results, [("methods", Run(Arm("kd"), Path("trashnet"), 0, scale, 1000))], scale, None)
    with pytest.raises(AssertionError):
        study.work(results, [("methods", Run(Arm("kd"), Path("trashnet"), 1, scale, 1000))], scale, None)
    study.work(results, [("methods", Run(Arm("kd"), Path("trashnet"), 1, scale, 1000))], scale, minutes=0.0)


class Nobody:
    """A pool that nobody may ask."""

    def __init__(self, workers: int, mp_context: object) -> None:
        pass

    def __enter__(self) -> Nobody:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, *_: object) -> None:
        raise AssertionError("a run was begun")


def test_every_arm_is_another_and_can_be_made() -> None:
    ablations = [arm for group in study_arms.ABLATIONS.values() for arm in group]
    for arms in (study_arms.METHODS, ablations, study_arms.CONVERGENCE):
        assert len({arm.name for arm in arms}) == len(arms)
        for arm in arms:
            study.study_runs.make(arm.method, arm.options)
