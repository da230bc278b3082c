"""benchmarks/data_free.py: rows as they are made, none made twice, and a table of paired differences."""

from __future__ import annotations

import csv
import json
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


def test_a_report_names_the_machine_of_its_rows_and_begins_with_teacher_and_start(tmp_path: Path) -> None:
    with open(PROGRAM.parent / "results/data_free.csv", newline="") as file:
        (head, *lines) = csv.reader(file)
    place = {name: head.index(name) for name in ("arm", "set", "seed", "machine")}
    for line in lines:
        line[place["machine"]] = "a machine of long ago"
    few = [line for line in lines if line[place["set"]] == "parts" and line[place["seed"]] in ("-1", "0")]
    with open(tmp_path / "rows.csv", "w", newline="") as file:
        csv.writer(file).writerows(
            [head, *(line for line in few if line[place["arm"]] in ("plain", "teacher", "start"))]
        )
    command = [sys.executable, str(PROGRAM), "--report", "--out", str(tmp_path / "rows.csv")]
    done = subprocess.run([*command, "--json", str(tmp_path / "rows.json")], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("a machine of long ago\n")
    found = json.loads((tmp_path / "rows.json").read_text())
    assert list(dict.fromkeys(row["figure"].partition("/")[0] for row in found)) == ["teacher", "start", "plain"]
    assert {row["machine"] for row in found} == {"a machine of long ago"}
