"""The rows the benchmarks write: medians, quartiles, and whether a bar is kept."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from time import sleep
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def rows() -> ModuleType:
    import sys

    path = Path(__file__).parents[2] / "benchmarks" / "rows.py"
    spec = importlib.util.spec_from_file_location("rows", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["rows"] = module  # dataclasses look their module up by name
    spec.loader.exec_module(module)
    return module


def test_a_row_holds_median_and_quartiles(rows: ModuleType) -> None:
    r = rows.row("x", [1, 2, 3, 4, 100], "ms")
    assert (r.low, r.value, r.high) == (2, 3, 4)
    assert r.met is None


@pytest.mark.parametrize(
    ("bar", "met"),
    [
        ("<= 1.05", True),
        ("<= 1.04", False),
        (">= 1.05", True),
        (">= 1.06", False),
        ("1 .. 1.1", True),
        ("0.9 .. 1", False),
    ],
)
def test_a_bar_is_judged_on_the_median(rows: ModuleType, bar: str, met: bool) -> None:
    assert rows.row("x", [0.9, 1.05, 9.0], "ratio", bar).met is met


def test_candidates_take_turns_and_the_slower_one_is_seen(rows: ModuleType) -> None:
    order: list[str] = []

    def call(name: str, seconds: float) -> None:
        order.append(name)
        sleep(seconds)

    times = rows.interleave({"slow": lambda: call("slow", 0.02), "fast": lambda: call("fast", 0)}, rounds=14, warm_up=2)
    rounds = [tuple(order[start : start + 2]) for start in range(0, len(order), 2)]
    assert len(rounds) == 16
    assert set(rounds) == {("slow", "fast"), ("fast", "slow")}
    assert np.median(times["slow"]) > np.median(times["fast"])


def test_a_slow_machine_gets_fewer_rounds_but_three(rows: ModuleType) -> None:
    calls: list[int] = []
    times = rows.interleave({"only": lambda: calls.append(1)}, rounds=50, warm_up=1, most_s=0)
    assert (len(times["only"]), len(calls)) == (3, 4)
    assert len(rows.interleave({"only": lambda: calls.append(1)}, rounds=2, most_s=0)["only"]) == 2


def test_rows_are_written_with_machine_and_command(
    rows: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows.report([rows.row("a", [1.0], "ratio", "<= 2"), rows.row("b", [2500.0], "images/s")], tmp_path / "rows.json")
    first, second = json.loads((tmp_path / "rows.json").read_text())
    assert list(first) == ["figure", "value", "low", "high", "unit", "bar", "met", "machine", "command"]
    assert (first["met"], second["met"]) == (True, None)
    assert "2,500" in capsys.readouterr().out


def test_rows_are_kept_in_the_place_of_the_older_ones_of_their_group(rows: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    for figure, value in (("late/a", 1), ("early/a", 2), ("late/a", 3), ("new/a", 4)):
        found = [{"figure": figure, "value": value}]
        rows.keep(found, path, lambda row: row["figure"].partition("/")[0], ["early", "late"])
    kept = json.loads(path.read_text())
    assert [(row["figure"], row["value"]) for row in kept] == [("early/a", 2), ("late/a", 3), ("new/a", 4)]
