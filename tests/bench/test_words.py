"""The table shows every figure once, and says of each row that does not count why."""

from __future__ import annotations

from io import StringIO

import pytest
from bench_reports import failed, report, row
from rich.console import Console

from edgedistill.bench.report import Report
from edgedistill.bench.words import draw, headline, state
from edgedistill.targets.flaws import Flaw


def drawn(report: Report) -> str:
    console = Console(file=StringIO(), width=160, highlight=False)
    draw(report, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_what_all_rows_have_in_common_is_said_once_and_what_differs_is_a_column() -> None:
    said = report(row("a"), row("a", batch=8))
    assert headline(said) == "Test Board, runtime onnxruntime-cpu 1.32.0, threads 1"
    header = drawn(said).splitlines()[2]
    assert "batch" in header
    assert "threads" not in header


def test_a_row_has_every_figure() -> None:
    lines = [line.split() for line in drawn(report(row("a"), row("b", 2.0))).splitlines()]
    figures = "2.080 2.020 .. 2.160 2.180 – 500 2.000 (2.000 .. 2.000) 12.50 3.250 31"
    assert ["b", *figures.split()] in lines
    assert ["a", *["1.040", "1.010", "..", "1.080", "1.090", "–", "1,000", "1", "12.50", "3.250", "31"]] in lines


def test_one_row_alone_is_compared_with_nothing_and_has_no_accuracy_column() -> None:
    said = drawn(report(row("a")))
    assert "ratio" not in said
    assert "accuracy" not in said
    assert "0.912" in drawn(report(row("a", accuracy=0.9117)))


def test_a_row_that_does_not_count_or_run_is_marked_and_explained() -> None:
    hot, busy = Flaw("hot", "cpu", 97.0, 95.0), Flaw("busy", value=1.5, limit=0.2)
    rows = (row("a", invalid=(hot, busy)), row("b", invalid=(hot,)), failed("c", "its batch is 1 and cannot be 8"))
    said = drawn(report(*rows))
    assert "Row 1, 2: does not count: too hot: cpu at 97 C, the limit is 95 C\n" in said
    assert "Row 1: does not count: other programs kept 1.50 processors busy, 0.20 were to spare\n" in said
    assert "Row 3: does not run: its batch is 1 and cannot be 8\n" in said
    assert [line.count("does not") for line in said.splitlines() if line.startswith(" ")].count(1) == 3  # in the table


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({}, "temperature not known"),
        (
            {
                "cpu": {"governors": ["powersave"], "mhz": 800, "max_mhz": 1500},
                "temperature_c": {"cpu": 61.2, "gpu": 40.0},
                "power_mode": "15W",
            },
            "powersave, 800 of 1500 MHz, power mode 15W, 61 C",
        ),
    ],
)
def test_the_state_of_the_machine_is_told_as_far_as_it_is_known(after: dict[str, object], said: str) -> None:
    shown = report(row("a", machine_state={"before": {}, "after": after}), other_cpus=None)
    assert state(shown) == said
    assert state(report(row("a"))).startswith("other programs kept 0.05 of 4 processors busy, load 0.50")
