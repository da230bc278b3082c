"""The closing table says what verdict.json says, marks what decided, and never claims more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from edgedistill.verdict.decide import Verdict
from edgedistill.verdict.words import draw, rows, show


@pytest.fixture
def verdict(built_folder: Path) -> Verdict:
    return Verdict(**json.loads((built_folder / "bundle" / "verdict.json").read_text()))


def drawn(verdict: Verdict) -> str:
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115
    draw(verdict, Path("bundle"), console)
    return console.export_text()


def row(verdict: Verdict, name: str) -> tuple[str, ...]:
    return next(found for found in rows(verdict) if found[0] == name)


def test_every_figure_of_the_table_stands_in_the_verdict(verdict: Verdict) -> None:
    assert verdict.agreement is not None
    assert verdict.latency_ms is not None
    assert row(verdict, "agreement with teacher")[1] == f"{verdict.agreement['value']:.3f}"
    assert row(verdict, "latency p95")[1] == f"{verdict.latency_ms['p95']:.2f} ms"
    assert f"p50 {verdict.latency_ms['p50']:.2f}" in row(verdict, "latency p95")[2]


def test_a_failed_budget_is_crossed_and_the_others_are_ticked(verdict: Verdict) -> None:
    failed = replace(verdict, verdict="fail", reasons=("latency: p95 is 40 ms, 20 over",))
    assert row(failed, "latency p95")[4] == "✗"
    assert row(failed, "memory")[4] == "✓"


def test_nothing_is_ticked_without_a_verdict(verdict: Verdict) -> None:
    left = replace(verdict, verdict="unmeasured", reasons=("not-reached",), next=("scp -r bundle USER@BOARD:",))
    assert {found[4] for found in rows(left)} == {""}
    assert "scp -r bundle USER@BOARD:" in drawn(left)


def test_with_enough_true_labels_accuracy_decides_and_agreement_is_only_shown(verdict: Verdict) -> None:
    assert verdict.accuracy is not None
    many = replace(verdict, verdict="pass", reasons=(), accuracy={**verdict.accuracy, "images": 500})
    assert row(many, "agreement with teacher")[3:] == ("reported only", "")
    assert row(many, "accuracy, student")[4] == "✓"


def test_a_missing_figure_is_a_dash_and_no_tick(verdict: Verdict) -> None:
    assert row(replace(verdict, latency_ms=None), "latency p95")[1:] == ("–", "", row(verdict, "latency p95")[3], "")


def test_the_closing_line_is_in_the_pictures_width(verdict: Verdict) -> None:
    assert max(map(len, drawn(verdict).splitlines())) <= 100


def test_why_a_run_does_not_count_is_said(verdict: Verdict) -> None:
    hot = replace(verdict, verdict="unmeasured", reasons=("unstable",), details=("the run was hot: cpu at 97 C",))
    assert "the run was hot: cpu at 97 C." in drawn(hot)


def test_changed_budgets_and_unused_images_are_said(verdict: Verdict) -> None:
    changed = replace(
        verdict,
        budget={**verdict.budget, "overrides": {"latency_p95_ms": 10.0}},
        skipped={"images": {"truncated": 3}, "check": {"not an image": 1}},
    )
    assert "Budgets changed for this build: latency_p95_ms 10." in drawn(changed)
    assert "Not used, photos: 3 truncated." in drawn(changed)
    assert "Not used, check images: 1 not an image." in drawn(changed)
    assert "Budgets changed" not in drawn(verdict)


def test_json_goes_to_stdout_and_the_talk_to_stderr(verdict: Verdict, capsys: pytest.CaptureFixture[str]) -> None:
    show(verdict, Path("bundle"), as_json=True)
    printed = capsys.readouterr()
    assert json.loads(printed.out) == json.loads(json.dumps(verdict.to_json()))
    assert verdict.verdict.upper() in printed.err
