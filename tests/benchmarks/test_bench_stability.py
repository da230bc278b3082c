"""Repeats that are off and marked valid are counted, and so is what is marked invalid in each state of the machine."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "benchmarks")]
from bench_stability import EVERY, HALF, IDLE, Repeat, rows_of  # noqa: E402

QUIET = {"others": 0.05, "stolen": 0.0, "waited": None}


def repeat(state: str, p50: float, p95: float, *against: str) -> Repeat:
    return Repeat(state, p50, p95, 1.05 * p95, QUIET, against)


def test_the_bars_are_held_against_what_the_valid_idle_repeats_say() -> None:
    measured = [
        *[repeat(IDLE, 2.0, 3.0)] * 8,
        repeat(IDLE, 2.3, 3.5, "unsteady"),  # off, and told: as it should be
        repeat(IDLE, 2.12, 3.2),  # off, and marked valid
        *[repeat(HALF, 2.2, 4.0, "busy")] * 9,
        repeat(HALF, 2.05, 3.1),  # within 5 %
        *[repeat(EVERY, 4.0, 9.0, "busy", "waited")] * 8,
        *[repeat(EVERY, 1.5, 3.0)] * 2,  # off below is off, too
    ]
    rows = {row.figure: row for row in rows_of(measured)}
    assert (rows["idle and valid, p50"].value, rows["idle and valid, p95"].value) == (2.0, 3.0)
    assert (rows["off and marked valid"].value, rows["off and marked valid"].met) == (3, False)
    found = {
        state: (rows[f"marked invalid, {state}"].value, rows[f"marked invalid, {state}"].met) for state in (HALF, EVERY)
    }
    assert found == {HALF: (0.9, True), EVERY: (0.8, False)}
    assert (rows[f"marked invalid, {IDLE}"].value, rows[f"marked invalid, {IDLE}"].met) == (0.1, None)
    assert rows["valid, and the end of p95's interval below the idle p95"].value == 0
    assert rows[f"others, {EVERY}"].value == 0.05
    assert f"waited, {EVERY}" not in rows  # this system does not tell
    assert (rows[f"marked busy, {EVERY}"].value, rows[f"off, {EVERY}"].value) == (0.8, 1.0)


def test_where_no_idle_repeat_is_valid_every_one_is_off() -> None:
    rows = {row.figure: row for row in rows_of([repeat(IDLE, 2.0, 3.0, "busy"), repeat(HALF, 2.0, 3.0)])}
    assert "idle and valid, p50" not in rows
    assert (rows["off and marked valid"].value, rows["off and marked valid"].met) == (1, False)
