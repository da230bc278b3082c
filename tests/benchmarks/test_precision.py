"""The benchmark of precisions: what it builds from, and how its comparisons are counted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "tools")]
import precision  # noqa: E402
import results_tables  # noqa: E402


def test_points_are_counted_on_the_same_photos() -> None:
    first, second = np.array([True] * 90 + [False] * 10), np.array([True] * 88 + [False] * 11 + [True])
    value, low, high = precision.points(first, second)
    assert value == pytest.approx(1.0)  # two better, one worse, of a hundred
    assert low < 0 < high
    assert precision.points(first, first) == (0.0, 0.0, 0.0)


def test_a_part_of_the_check_photos_has_every_class(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / "all" / name).mkdir(parents=True)
        for index in range(4):
            (tmp_path / "all" / name / f"{index}.jpg").write_bytes(b"photo")
    folder = precision.first_files(tmp_path / "all", tmp_path / "some", 7)
    kept = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.jpg"))
    assert kept == ["a/0.jpg", "a/1.jpg", "a/2.jpg", "b/0.jpg", "b/1.jpg", "c/0.jpg", "c/1.jpg"]


def test_the_table_has_a_line_for_each_student_and_names_the_bars_it_missed(tmp_path: Path) -> None:
    def row(figure: str, value: float, met: bool | None = None) -> dict[str, object]:
        facts = {"unit": "", "bar": "", "met": met, "machine": "m", "command": "c"}
        return {"figure": figure, "value": value, "low": value, "high": value, **facts}

    rows = [
        row("resnet18/bits", 8),
        row("resnet18/fp32", 12.5),
        row("resnet18/chosen to fp32", 0.4, True),
        row("small/bits", 32),
        row("small/chosen to fp32", 1.5, False),
    ]
    (tmp_path / "precision.json").write_text(json.dumps(rows))
    lines = results_tables.TABLES["precision"](tmp_path).splitlines()
    assert [line.split(" | ")[0:3] for line in lines[2:4]] == [["| resnet18", "8", "12.50"], ["| small", "32", "–"]]
    assert "0.40 (0.40 .. 0.40)" in lines[2]
    assert "**no**: chosen to fp32" in lines[3]
