"""The tables of README.md and docs/results.md: made from rows alone, and what stands there is what the rows say."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "benchmarks")]
import demo  # noqa: E402
import results_tables  # noqa: E402

LATENCY = {"p50": 0.8, "p95": 1.25, "p99": 2.0, "queries": 1000}


def row(figure: str, value: float, low: float | None = None, high: float | None = None, **more: Any) -> dict[str, Any]:
    low, high = (value if bound is None else bound for bound in (low, high))
    origin = {"machine": "a machine", "command": f"measure {figure}"}
    return (
        {"figure": figure, "value": value, "low": low, "high": high, "unit": "", "bar": "", "met": None} | origin | more
    )


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    (folder / f"{name}.json").write_text(json.dumps(rows))


def cells(text: str, first: str) -> list[str]:
    """The cells of the table line that begins with `first`."""
    found = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith(f"| {first} |")]
    assert len(found) == 1, text
    return found[0][1:]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """What benchmarks/demo.py reads of a bundle that took seed 4, and the training behind it in `work`."""
    made = tmp_path / "bundle-4"
    (made / "results").mkdir(parents=True)
    trained = tmp_path / "work/distil-x"
    trained.mkdir(parents=True)
    (trained / "student.safetensors").write_bytes(b"weights")
    epochs = [{"method": "prg"}, {"epoch": 1, "seconds": 20.0}, {"epoch": 2, "seconds": 22.5}]
    (trained / "metrics.jsonl").write_text("\n".join(map(json.dumps, epochs)))
    sha256 = hashlib.sha256(b"weights").hexdigest()
    verdict = {
        "verdict": "pass",
        "accuracy": {"teacher": 0.98, "student": 0.97, "low": -0.02, "high": 0.001, "images": 1000},
        "agreement": {"value": 0.96, "low": 0.95, "high": 0.97, "images": 1000},
        "start": {"accuracy": 0.27, "agreement": 0.28},
        "budget": {"latency_p95_ms": 20.0, "memory_mb": 1000},
        "latency_ms": LATENCY,
        "memory_mb": {"peak": 35.5, "kind": "rss_growth"},
        "model": {"bytes": 9_200_000, "precision": "fp32"},
    }
    device = {"name": "A CPU", "evidence": {"memory_total_mb": 8192}}
    result = {"latency_ms": {**LATENCY, "mean": 0.9}, "runtime": {"threads": 2}, "device": device}
    (made / "verdict.json").write_text(json.dumps(verdict))
    (made / "manifest.json").write_text(json.dumps({"files": {"student.safetensors": sha256}}))
    (made / "results/fp32.json").write_text(json.dumps(result))
    return made


def test_the_pages_show_what_the_rows_say() -> None:
    for page in results_tables.PAGES:
        text = page.read_text(encoding="utf-8")
        assert results_tables.filled(text, results_tables.RESULTS) == text, "run python tools/results_tables.py"


def test_every_table_that_can_be_made_is_shown() -> None:
    shown = "".join(page.read_text(encoding="utf-8") for page in results_tables.PAGES)
    assert [name for name in results_tables.TABLES if f"<!-- table: {name} -->" not in shown] == []


def test_only_what_stands_between_the_markers_is_replaced_and_once_is_enough(tmp_path: Path) -> None:
    write(tmp_path, "targets", [row("images", 12.0, 11.0, 13.0)])
    tables = "<!-- table: targets -->\nan old table\n<!-- end -->\nbetween\n<!-- table: demo -->\n<!-- end -->"
    page = f"before\n{tables}\nafter\n"
    once = results_tables.filled(page, tmp_path)
    assert once.startswith("before\n<!-- table: targets -->\n")
    assert once.endswith("\nbetween\n<!-- table: demo -->\n\nNot measured yet.\n\n<!-- end -->\nafter\n")
    assert "an old table" not in once
    assert results_tables.filled(once, tmp_path) == once


def test_a_table_that_nobody_makes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no table is called dmeo"):
        results_tables.filled("<!-- table: dmeo -->\n<!-- end -->\n", tmp_path)


def test_checking_changes_nothing_and_fails_on_an_old_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- table: step-time -->\n\n| typed | by hand |\n\n<!-- end -->\n")
    arguments = ["results_tables.py", "--results", str(tmp_path), str(page)]
    monkeypatch.setattr(sys, "argv", [*arguments, "--check"])
    with pytest.raises(SystemExit, match=r"page\.md: not what"):
        results_tables.main()
    assert "by hand" in page.read_text()
    monkeypatch.setattr(sys, "argv", arguments)
    results_tables.main()
    monkeypatch.setattr(sys, "argv", [*arguments, "--check"])
    results_tables.main()


def test_a_bundle_becomes_rows_with_its_own_machine(bundle: Path) -> None:
    rows = demo.bundle_rows(bundle, bundle.parent / "work")
    values = {row["figure"]: row["value"] for row in rows}
    assert values["seed 4/training"] == 42.5
    assert values["seed 4/difference"] == pytest.approx(-1)
    assert {(row["machine"], row["command"], row["verdict"]) for row in rows} == {
        ("A CPU, 2 threads, 8 GB", "make demo SEED=4", "pass")
    }
    assert next(row["met"] for row in rows if row["figure"] == "seed 4/latency p95") is True


def test_a_bundle_without_its_work_folder_has_no_training_time(bundle: Path) -> None:
    figures = [row["figure"] for row in demo.bundle_rows(bundle, bundle.parent / "gone")]
    assert "seed 4/training" not in figures
    assert "seed 4/student" in figures


def test_a_built_demo_is_not_built_again_and_keeps_its_time(bundle: Path) -> None:
    assert demo.run(bundle, 4) is None
    bundle.with_name("bundle-4.seconds").write_text("301.5")
    assert demo.run(bundle, 4) == 301.5
    rows = demo.bundle_rows(bundle, bundle.parent / "work", 301.5)
    assert [row["met"] for row in rows if row["figure"] == "seed 4/build"] == [True]


def test_a_verdict_whose_result_is_gone_is_refused(bundle: Path) -> None:
    (bundle / "results/fp32.json").unlink()
    with pytest.raises(SystemExit, match="the result behind"):
        demo.bundle_rows(bundle, bundle.parent / "work")


def test_a_difference_that_rounds_to_nothing_has_no_minus_sign() -> None:
    assert results_tables._points({"value": -0.03, "low": -0.3, "high": 0.3}) == "+0.0 (−0.3 .. +0.3)"


def test_the_demo_table_has_a_column_for_each_seed_and_their_mean(bundle: Path, tmp_path: Path) -> None:
    first = demo.bundle_rows(bundle, bundle.parent / "work")
    second = [{**row, "figure": row["figure"].replace("4", "5"), "value": 0.5, "verdict": "fail"} for row in first]
    write(tmp_path, "demo", first + second)
    text = results_tables.demo(tmp_path)
    assert cells(text, "verdict") == ["**pass**", "**fail**", "pass: 1 of 2"]
    assert cells(text, "agreement with the teacher")[0] == "0.960 (0.950 .. 0.970)"
    assert cells(text, "student − teacher, points")[0] == "−1.0 (−2.0 .. +0.1)"
    assert cells(text, "accuracy, student") == ["0.970", "0.500", "0.735"]
    assert "On A CPU, 2 threads, 8 GB:\n\n    make demo SEED=4" in text
    assert cells(results_tables.latency(tmp_path), "demo, seed 4") == ["0.80", "1.25", "2.00", "36", "9.2"]


def test_photos_are_shown_over_seeds_and_seed_by_seed(tmp_path: Path) -> None:
    own = {"value": -2.0, "low": -5.0, "high": 1.0}
    built = {"value": 0.0, "low": 0.0, "high": 0.0, "verdict": "fail"}
    seeds = {"0": own, "1": {**own, "value": 3.0}}
    rows = [
        row("shells/teacher", 0.5, 0.4, 0.6, seeds={}),
        row("shells/student", 0.6, 0.55, 0.65, seeds={seed: {"value": 0.6, "low": 0.5, "high": 0.7} for seed in "01"}),
        row("shells/difference", 0.5, -2.0, 3.0, seeds=seeds),
        row("shells/trained", 90, seeds={}),
        row("shells/check", 100, seeds={}),
        row("shells/passed", 0.5, 0, 1, seeds={"0": built, "1": {**built, "value": 1.0, "verdict": "pass"}}),
    ]
    write(tmp_path, "real_photos", rows)
    assert cells(results_tables.photos_short(tmp_path), "shells") == [
        "0.500",
        "–",  # no start: a student from scratch
        "0.600 (0.550 .. 0.650)",
        "+0.5 (−2.0 .. +3.0)",
        "–",
        "–",
        "1 of 2",
    ]
    assert cells(results_tables.photos(tmp_path), "shells")[0] == "0.500 (0.400 .. 0.600)"
    lines = [line for line in results_tables.photos_seeds(tmp_path).splitlines() if line.startswith("| shells")]
    assert lines[0] == "| shells | 90 / 100 | 0 | 0.600 (0.500 .. 0.700) | −2.0 (−5.0 .. +1.0) | – | fail | – |"
    assert "| pass |" in lines[1]


def test_a_budget_is_shown_by_its_steps_and_views_and_the_mean_last(tmp_path: Path) -> None:
    rows = [
        row("shells/x1 V8 accuracy", 0.5, 0.4, 0.6),
        row("shells/x1 V8 agreement", 0.7, 0.6, 0.8),
        row("shells/x5 V16 accuracy", 0.52, 0.42, 0.62),
        row("shells/x5 V16 agreement", 0.75, 0.65, 0.85),
        row("shells/x5 V16 gain", 2.0, -1.5, 5.5),
        row("mean/x5 V16 gain", 2.0, 2.0, 2.0),
    ]
    write(tmp_path, "budget", rows)
    text = results_tables.budget(tmp_path)
    assert [line for line in text.splitlines() if line.startswith("| ")][1:] == [
        "| shells | x1 | 8 | 0.500 (0.400 .. 0.600) | – | 0.700 (0.600 .. 0.800) |",
        "| shells | x5 | 16 | 0.520 (0.420 .. 0.620) | +2.0 (−1.5 .. +5.5) | 0.750 (0.650 .. 0.850) |",
        "| mean | x5 | 16 | – | +2.0 (+2.0 .. +2.0) | – |",
    ]


def test_a_fault_shows_how_often_the_same_command_went_on(tmp_path: Path) -> None:
    told = {"fault": "kill -9: distil", "done": "SIGKILL", "said": "", "tries": 3, "skipped": "", "left": ["tmp/x"]}
    origin = {"machine": "a machine", "command": "python benchmarks/faults.py"}
    rows = [told | origin | {"went_on": 3, "equal": 2}, told | origin | {"fault": "full disk", "skipped": "no mount"}]
    write(tmp_path, "faults", rows)
    text = results_tables.faults(tmp_path)
    assert cells(text, "kill -9: distil") == ["SIGKILL", "–", "3 of 3", "2 of 3", "1"]
    assert cells(text, "full disk")[0] == "not run: no mount"


def test_a_fault_of_ssh_shows_its_two_lines_or_why_it_was_not_run(tmp_path: Path) -> None:
    origin = {"machine": "a machine", "command": "python benchmarks/ssh_faults.py"}
    told = {"fault": "a full disk", "wrong": "no room | left", "todo": "Free <some>.", "skipped": ""}
    write(tmp_path, "ssh_faults", [told | origin, told | origin | {"fault": "no python", "skipped": "no mount"}])
    text = results_tables.TABLES["ssh-faults"](tmp_path)
    assert "| a full disk | no room \\| left | Free &lt;some>. |" in text
    assert cells(text, "no python") == ["not run: no mount", "–"]


def test_a_benchmark_shows_its_spread_and_whether_the_bar_is_met(tmp_path: Path) -> None:
    write(tmp_path, "step_time", [row("a / b", 1.25, 1.0, 1500.4, unit="ratio", bar="<= 1.10", met=False)])
    text = results_tables.TABLES["step-time"](tmp_path)
    assert cells(text, "a / b") == ["1.25", "1 .. 1,500", "ratio", "<= 1.10", "**no**"]
    assert "On a machine:\n\n    measure a / b" in text
