"""The benchmarks run as their first lines say: a table for a person, and rows for the docs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
STEP = ["--student", "test_efficientnet", "--sizes", "32", "--batch", "8", "--steps", "1", "--rounds", "1"]
TIME = ["--time", "4s", "--student", "test_efficientnet", "--input-size", "32", "--images", "24", "--threads", "1"]
ENGINE = ["--steps", "1", "--rounds", "1"]
PASS = ["--tower", "tiny", "--size", "32", "--count", "8", "--rounds", "1"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "options", "figures"),
    [
        (
            "step_time.py",
            STEP,
            {
                "distil step / supervised step": "<= 1.10",
                "loop / bare step in images/s": ">= 0.90",
                "step with a live ViT-B/32": "",
            },
        ),
        ("targets.py", PASS, {"target pass / bare forward, tiny 32 px": ">= 0.75", "bare forward of 8 views": ""}),
        ("teacher_engine.py", ENGINE, {"engine images/s / necessary passes": ">= 0.85", "engine images an hour": ""}),
        ("time_promise.py", TIME, {"4s training / promised": "0.85 .. 1.15", "4s epochs": ""}),
        ("bench.py", ["--sets", "1"], {"bench, p50": "", "bench / a stopwatch by hand": "0.95 .. 1.05"}),
        ("targets.py", ["--memory", "16", "32"], {"RssAnon at 32 / at 16 images": "<= 1.10"}),
    ],
    ids=["step", "pass", "engine", "time", "bench", "memory"],
)
def test_a_short_run_prints_a_table_and_writes_rows(
    tmp_path: Path, program: str, options: list[str], figures: dict[str, str]
) -> None:
    command = [sys.executable, str(BENCHMARKS / program), *options, "--json", str(tmp_path / "rows.json")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    heading = next(line for line in done.stdout.splitlines() if line.startswith("figure"))
    assert heading.split() == ["figure", "value", "quartiles", "unit", "bar", "met"]
    rows = json.loads((tmp_path / "rows.json").read_text())
    for row in rows:
        assert list(row) == ["figure", "value", "low", "high", "unit", "bar", "met", "machine", "command"]
        assert 0 < row["low"] <= row["value"] <= row["high"]
        assert row["command"].startswith(f"python benchmarks/{program} ")
        assert row["figure"] in done.stdout
    for figure, bar in figures.items():
        assert [row["bar"] for row in rows if figure in row["figure"]] == [bar]
