"""benchmarks/gentle_start.py: which recipe a pretrained start is trained by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gentle_start.py"


@pytest.mark.slow
@pytest.mark.xdist_group("built")
def test_four_recipes_are_judged_beside_their_teacher(
    built_folder: Path, tiny_teacher_folder: Path, tmp_path: Path
) -> None:
    options = {
        "study": built_folder / "check",
        "pool": built_folder / "photos",
        "classes": built_folder / "labels.txt",
        "teacher": f"local-dir:{tiny_teacher_folder}",
        "start": built_folder / "bundle",
        "size": 32,
        "epochs": 1,
        "work": tmp_path / "work",
        "json": tmp_path / "rows.json",
    }
    words = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    lines = json.loads(options["json"].read_text())  # type: ignore[attr-defined]
    assert [line["figure"] for line in lines] == [
        "teacher",
        "statistics of each batch; rate 0.0003",
        "statistics of each batch; rate 0.0001",
        "statistics of the start, held; rate 0.0003",
        "statistics of the start, held; rate 0.0001",
    ]
    assert all(line["low"] < line["value"] <= line["high"] for line in lines)
    assert lines[0]["value"] > 0.8
    headers = [json.loads(path.read_text().splitlines()[0]) for path in (tmp_path / "work").glob("*/metrics.jsonl")]
    assert {(header["train_norm"], header["train_lr"]) for header in headers} == {
        (norm, rate) for norm in ("batch", "start") for rate in (3e-4, 1e-4)
    }
