"""benchmarks/data_free.py: rows as they are made, none made twice, and a table of paired differences."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_images import FOUR_CLASSES, write_check

PROGRAM = Path(__file__).parents[2] / "benchmarks/data_free.py"
SMALL = "--no-example --start none --student test_resnet --seeds 0 --ways plain"
SMALL += " --per-class 6 --size 32 --image-steps 16"


@pytest.mark.slow
def test_a_run_leaves_its_row_and_is_not_made_again(tmp_path: Path, tiny_teacher_folder: Path) -> None:
    results = tmp_path / "rows.csv"
    places = {"data": write_check(tmp_path / "shapes", 96, classes=FOUR_CLASSES), "work": tmp_path / "work"}
    places |= {"teacher": f"local-dir:{tiny_teacher_folder}", "out": results}
    given = [word for name, place in places.items() for word in (f"--{name}", str(place))]
    command = [sys.executable, str(PROGRAM), *SMALL.split(), *given]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.returncode == 0, first.stderr
    written = results.read_text()
    arms = [row["arm"] for row in csv.DictReader(written.splitlines())]
    assert arms == ["teacher", "plain", "photos", "plain and photos"]
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert results.read_text() == written
    assert again.returncode == 0, again.stderr
    table = again.stdout.splitlines()[3:]
    assert table[0].split()[0] == "figure"
    figures = [line.split("  ")[0] for line in table[1:]]
    assert [f"{arm}/accuracy" for arm in arms] == [figure for figure in figures if figure.endswith("/accuracy")]
    assert {"plain/less photos", "plain and photos/less plain"} <= set(figures)
