"""Cases that took turns are told apart where they differ, and a row that does not count says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from time import sleep
from typing import Any

import pytest
from tiny_graphs import means, products, saved

from edgedistill.bench.case import Case, Opened, open_case
from edgedistill.bench.inputs import Given
from edgedistill.bench.side_by_side import Length, bench
from edgedistill.errors import InputError
from edgedistill.targets import load, measure, state, thread_trial
from edgedistill.targets.length import LONG_ENOUGH_S, SOAK_TURNS, Loop
from edgedistill.targets.load import Load

SHORT = Length("short", Loop(warmup_s=0, min_s=0, min_queries=measure.LEAST_QUERIES), 30.0)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return saved(tmp_path / "graph.onnx", products(48, 4))


def case_of(path: Path, **changes: Any) -> Case:
    facts = {"model": path.stem, "file": path, "runtime": "onnxruntime-cpu", "threads": 1, "batch": None}
    return Case(**{**facts, "given": Given(), **changes})


def test_a_slower_session_of_the_same_model_is_told_apart(graph: Path) -> None:
    def opens(case: Case) -> Opened:
        opened = open_case(case)
        if case.model == "slow":
            run = opened.run
            opened.run = lambda feed: (sleep(0.0005), run(feed))  # type: ignore[method-assign]
        return opened

    report = bench([case_of(graph), case_of(graph, model="slow")], SHORT, opens=opens)
    first, slow = report.rows
    assert slow.ratio is not None
    assert slow.ratio.to == 0
    assert slow.ratio.low > 1
    assert first.latency_ms is not None
    assert slow.latency_ms is not None
    assert slow.latency_ms.low > first.latency_ms.high
    assert slow.latency_ms.queries >= 400


def test_a_row_says_what_was_fed_to_what_and_how_much_it_took(graph: Path) -> None:
    (row,) = bench([case_of(graph, batch=3, accuracy=0.75)], SHORT).rows
    assert row.inputs == ({"name": "x", "dtype": "float32", "shape": [3, 48, 48]},)
    assert (row.runtime["provider"], row.runtime["threads"]) == ("CPUExecutionProvider", 1)
    assert row.latency_ms is not None
    assert row.items_per_s == pytest.approx(3e3 / row.latency_ms.mean, rel=1e-3)
    assert row.cold_start_ms is not None
    assert row.memory_mb is not None
    assert row.accuracy == 0.75
    assert row.machine_state is not None


def test_a_case_that_does_not_run_is_a_row_beside_those_that_do(graph: Path, tmp_path: Path) -> None:
    fixed = saved(tmp_path / "fixed.onnx", means(x=("float32", [1, 3])))
    report = bench([case_of(fixed, batch=8), case_of(graph, batch=8)], SHORT)
    assert report.rows[0].failed == "its batch is 1 and cannot be 8"
    assert report.rows[1].failed is None
    assert report.exit_code == 4


def test_where_nothing_runs_the_first_error_is_raised(graph: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"not a graph")
    with pytest.raises(InputError, match=r"^bad: cannot load .*bad\.onnx"):
        bench([case_of(tmp_path / "bad.onnx")], SHORT)
    with pytest.raises(InputError, match="--shape names the input y, which no model has"):
        bench([case_of(graph, given=Given(shapes={"y": (1,)}))], SHORT)


def test_too_few_queries_do_not_count(graph: Path) -> None:
    (row,) = bench([case_of(graph)], Length("none", SHORT.loop, 0.0)).rows
    assert "no-p95" in [flaw.code for flaw in row.invalid]
    assert not row.counts


def test_a_hot_machine_and_a_busy_one_do_not_count(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state, "read_state", lambda gpu, threads: {"temperature_c": {"cpu": 96.0}})
    monkeypatch.setattr(load, "load_between", lambda *asked: Load(9999.0, 0.5, 0.5))
    told = replace(SHORT, loop=replace(SHORT.loop, min_s=LONG_ENOUGH_S))
    (row,) = bench([case_of(graph)], told).rows
    assert [flaw.code for flaw in row.invalid if flaw.code not in ("slower", "unsteady")] == [
        *("hot", "busy", "stolen", "waited")
    ]
    assert row.invalid[0].limit == 95  # of the profile that fits this machine


def test_where_nobody_fixes_the_threads_a_trial_finds_them(graph: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread_trial, "choices", lambda: [1, 2])
    monkeypatch.setattr(thread_trial, "fewest", max)
    first, fixed = bench([case_of(graph, threads=None), case_of(graph, threads=1)], SHORT).rows
    assert (first.runtime["threads"], fixed.runtime["threads"]) == (2, 1)
    assert first.cold_start_ms is not None


def test_a_soak_has_ten_rounds_of_six_turns(graph: Path) -> None:
    soak = replace(SHORT, loop=replace(SHORT.loop, turns=SOAK_TURNS))
    (row,) = bench([case_of(graph)], soak).rows
    assert row.latency_ms is not None
    assert len(row.latency_ms.rounds) == 10
    assert row.latency_ms.queries >= measure.LEAST_QUERIES
