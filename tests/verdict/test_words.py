"""The closing table says what verdict.json says, marks what decided, and never claims more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import measured
import pytest
from rich.console import Console

from edgedistill.targets.flaws import Flaw
from edgedistill.verdict.decide import decide
from edgedistill.verdict.results import read_result
from edgedistill.verdict.tables import candidate_rows, draw, rows, show
from edgedistill.verdict.verdict import Candidate, Obstacle, Over, Runtime, Skipped, Verdict, read_verdict
from edgedistill.verdict.words import notes


@pytest.fixture
def verdict(built_folder: Path) -> Verdict:
    return read_verdict(built_folder / "bundle")


def drawn(verdict: Verdict) -> str:
    console = Console(record=True, width=100, file=open("/dev/null", "w"))  # noqa: SIM115
    draw(verdict, Path("bundle"), console)
    return console.export_text()


def row(verdict: Verdict, name: str) -> tuple[str, ...]:
    return next(found for found in rows(verdict) if found[0] == name)


def test_every_figure_of_the_table_stands_in_the_verdict(verdict: Verdict) -> None:
    assert verdict.agreement is not None
    assert verdict.latency_ms is not None
    assert row(verdict, "agreement with teacher")[1] == f"{verdict.agreement.value:.3f}"
    assert row(verdict, "latency p95")[1] == f"{verdict.latency_ms.p95:.2f} ms"
    assert f"p50 {verdict.latency_ms.p50:.2f}" in row(verdict, "latency p95")[2]


def test_a_failed_budget_is_crossed_and_the_others_are_ticked(verdict: Verdict) -> None:
    failed = replace(verdict, verdict="fail", over=(Over(figure="latency", value=40.0, limit=20.0, unit="ms"),))
    assert row(failed, "latency p95")[4] == "✗"
    assert row(failed, "memory")[4] == "✓"
    assert "latency: p95 is 40.00 ms, 20.00 over the 20 allowed" in " ".join(drawn(failed).split())


def test_nothing_is_ticked_without_a_verdict(verdict: Verdict) -> None:
    left = replace(verdict, verdict="unmeasured", reasons=("not-reached",), next=("scp -r bundle USER@BOARD:",))
    assert {found[4] for found in rows(left)} == {""}
    assert "scp -r bundle USER@BOARD:" in drawn(left)


def test_with_enough_true_labels_accuracy_decides_and_agreement_is_only_shown(verdict: Verdict) -> None:
    assert verdict.accuracy is not None
    many = replace(verdict, verdict="pass", reasons=(), accuracy=replace(verdict.accuracy, images=500))
    assert row(many, "agreement with teacher")[3:] == ("reported only", "")
    assert row(many, "accuracy, student")[4] == "✓"


def test_a_missing_figure_is_a_dash_and_no_tick(verdict: Verdict) -> None:
    assert row(replace(verdict, latency_ms=None), "latency p95")[1:] == ("–", "", row(verdict, "latency p95")[3], "")


def test_the_closing_line_is_in_the_pictures_width(verdict: Verdict) -> None:
    assert max(map(len, drawn(verdict).splitlines())) <= 100


def test_why_a_run_does_not_count_is_said(verdict: Verdict) -> None:
    obstacle = Obstacle(reason="unstable", flaws=(Flaw("hot", "cpu", 97.0, 95.0),))
    row = Candidate(precision="fp16", runtime="tensorrt", device="Test Board", obstacle=obstacle)
    hot = replace(verdict, verdict="unmeasured", reasons=("unstable",), precision_candidates=(row,))
    said = "the run of fp16, tensorrt on Test Board does not count: too hot: cpu at 97 C, the limit is 95 C."
    assert said in " ".join(drawn(hot).split())


def test_the_second_table_shows_every_candidate_and_why_not(tmp_path: Path) -> None:
    check = measured.check_set(200)
    contents = [
        measured.result(check, precision="fp32", p95=4.0),
        measured.result(check, precision="fp16", p95=6.0),
        measured.result(check, precision="fp16", p95=12.0) | {"runtime": {"name": "onnxruntime-cuda", "version": "1"}},
        measured.result(check, precision="fp16", p95=6.0) | {"invalid": [measured.THROTTLED]},
        measured.failed("fp16"),
    ]
    paths = [measured.written(tmp_path, content, f"{index}.json") for index, content in enumerate(contents)]
    results = [read_result(path, measured.manifest(), measured.MANIFEST_SHA256, 200) for path in paths]
    verdict = decide(measured.manifest(), check, results, named=True)
    found = candidate_rows(verdict)
    assert [(line[0], line[-1]) for line in found] == [
        ("fp32, tensorrt", "selected"),
        ("fp16, tensorrt", "not faster than fp32"),
        ("fp16, onnxruntime-cuda", "over: latency"),
        ("fp16, tensorrt", "does not count"),
        ("fp16, tensorrt", "does not run"),
        ("int8", "not built"),
    ]
    assert "int8 is not built: there are no photos to calibrate on." in notes(verdict)
    assert "fp16, tensorrt does not run: the engine cannot be built." in notes(verdict)
    assert found[0][1:5] == ("3.60", "4.00", "80", "1.000")


def test_fewer_threads_than_cores_are_said_where_a_trial_found_them(verdict: Verdict) -> None:
    tried = {"1": 6.7, "2": 8.8}
    for threads, found, said in ((1, tried, True), (2, {"1": 9.0, "2": 5.0}, False), (1, None, False)):
        runtime = Runtime(name="onnxruntime-cpu", version="1", threads=threads, threads_tried=found)
        assert ("1 thread: faster here than 2." in notes(replace(verdict, runtime=runtime))) is said
    assert not any("thread" in note for note in notes(replace(verdict, runtime=None)))


def test_changed_budgets_and_unused_images_are_said(verdict: Verdict) -> None:
    changed = replace(
        verdict,
        budget=replace(verdict.budget, overrides={"latency_p95_ms": 10.0}),
        skipped=Skipped(images={"truncated": 3}, check={"not an image": 1}),
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
