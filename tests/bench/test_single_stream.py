"""A single stream asks one item a query, and says what its estimate is not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tiny_graphs import means, products, saved

from edgedistill.bench import command, single_stream
from edgedistill.bench.case import Case
from edgedistill.bench.inputs import Given
from edgedistill.errors import InputError
from edgedistill.targets import early_stopping, state

SHORT = replace(early_stopping.LOOP, warmup_s=0, min_s=0)


def case_of(path: Path, **changes: Any) -> Case:
    facts = {"model": path.stem, "file": path, "runtime": "onnxruntime-cpu", "threads": 1, "batch": None}
    return Case(**{**facts, "given": Given(), **changes})


def test_every_model_has_its_estimate_or_why_it_does_not_run(tmp_path: Path) -> None:
    one, eight = (
        saved(tmp_path / "one.onnx", products(16, 2)),
        saved(tmp_path / "eight.onnx", means(x=("float32", [8, 3]))),
    )
    first, second = single_stream.single_stream([case_of(one), case_of(eight)], SHORT)["rows"]
    assert first["queries"] >= 400
    assert 0 < first["observed_ms"] <= first["estimate_ms"]
    assert second["failed"] == "its batch is 8 and cannot be 1"
    with pytest.raises(InputError, match="eight: its batch is 8"):
        single_stream.single_stream([case_of(eight)], SHORT)


def test_the_command_prints_it_and_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    streams = single_stream.single_stream
    monkeypatch.setattr(command, "single_stream", lambda cases: streams(cases, SHORT))
    model, json_file = saved(tmp_path / "one.onnx", products(16, 2)), tmp_path / "found.json"
    assert command.run(command.BenchOptions(models=[model], threads=[1], mlperf_like=True, json=json_file)) == 0
    assert "not an MLPerf result" in capsys.readouterr().out
    assert json.loads(json_file.read_text())["rows"][0]["percentile"] == 90
    with pytest.raises(InputError, match="--plot"):
        command.run(command.BenchOptions(models=[model], mlperf_like=True, plot=tmp_path / "found.svg"))


def test_a_stream_on_a_hot_machine_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(state, "read_state", lambda gpu, threads: {"temperature_c": {"cpu": 99.0}})
    found = single_stream.single_stream([case_of(saved(tmp_path / "one.onnx", products(16, 2)))], SHORT)
    assert single_stream.exit_code(found) == 4
    single_stream.show(found)
    assert "does not count: too hot: cpu at 99 C" in capsys.readouterr().out
