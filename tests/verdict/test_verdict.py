"""verdict.json: what is written reads back equal; anything else is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_args

import measured
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedistill.errors import InputError
from edgedistill.targets.flaws import FIGURES, Flaw
from edgedistill.verdict import verdict as kinds
from edgedistill.verdict.decide import decide
from edgedistill.verdict.verdict import Verdict, read_verdict

text, share, count = st.text(max_size=8), st.floats(0, 1), st.integers(0, 10**6)
number = st.floats(0, 1e9) | st.integers(0, 10**9)
counts = st.dictionaries(text, count, max_size=3)


def several(kind: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(kind, max_size=3).map(tuple)


agreements = st.builds(kinds.Agreement, value=share, low=share, high=share, images=count)
accuracies = st.builds(
    kinds.Accuracy, teacher=share, student=share, low=st.floats(-1, 1), high=st.floats(-1, 1), images=count
)
latencies = st.builds(
    kinds.Latency, p50=st.none() | number, p95=st.none() | number, p99=st.none() | number, queries=count
)
overs = st.builds(
    kinds.Over,
    figure=st.sampled_from(["outputs", "accuracy", "agreement", "latency", "memory"]),
    value=st.none() | number,
    low=st.none() | share,
    limit=number,
    unit=st.sampled_from(["ms", "MB", "share", "images"]),
)
flaws = st.builds(
    Flaw, code=st.sampled_from(list(FIGURES)), what=text, value=st.none() | number, limit=st.none() | number
)
obstacles = st.builds(kinds.Obstacle, reason=st.sampled_from(kinds.REASONS), flaws=several(flaws))
against_fp32 = st.builds(
    kinds.AgainstFp32,
    p50=st.none() | number,
    p95=st.none() | number,
    difference=share,
    low=share,
    high=share,
    images=count,
    same=share,
)
runtimes = st.builds(
    kinds.Runtime,
    name=text,
    version=text,
    threads=st.none() | count,
    threads_tried=st.none() | st.dictionaries(text, number, max_size=3),
)
int8 = st.builds(
    kinds.Int8Facts,
    dialect=text,
    calibration=text,
    photos=count,
    seed=count,
    judged=count,
    agreement=share,
    tried=st.dictionaries(text, share, max_size=3),
    layers=count,
    floating=several(text),
    fine_tuned=text,
)
candidates = st.builds(
    kinds.Candidate,
    precision=text,
    selected=st.booleans(),
    not_built=st.none() | text,
    file=st.none() | text,
    bytes=st.none() | count,
    runtime=st.none() | text,
    device=st.none() | text,
    latency_ms=st.none() | latencies,
    memory_mb=st.none() | number,
    agreement=st.none() | share,
    accuracy=st.none() | share,
    over=several(overs),
    obstacle=st.none() | obstacles,
    error=st.none() | text,
    against_fp32=st.none() | against_fp32,
    kept_back=several(st.sampled_from(get_args(kinds.KeptBack))),
    int8=st.none() | int8,
)
trained = {"agreement": share, "accuracy": st.none() | share}
verdicts = st.builds(
    Verdict,
    verdict=st.sampled_from(list(kinds.EXIT_CODES)),
    reasons=several(st.sampled_from(kinds.REASONS)),
    over=several(overs),
    profile=text,
    board=st.builds(kinds.Board, title=text, runtimes=several(text)),
    build_id=text,
    selected=text,
    budget=st.builds(
        kinds.Budget,
        latency_p95_ms=number,
        memory_mb=number,
        agreement_min=share,
        accuracy_drop_max=share,
        overrides=st.dictionaries(text, number, max_size=2),
    ),
    agreement=st.none() | agreements,
    accuracy=st.none() | accuracies,
    latency_ms=st.none() | latencies,
    memory_mb=st.none() | st.builds(kinds.Memory, peak=number, kind=text),
    model=st.builds(kinds.Model, bytes=count, precision=text),
    precision_candidates=several(candidates),
    device=st.none() | st.builds(kinds.Machine, name=text, matches_profile=st.none() | st.booleans()),
    runtime=st.none() | runtimes,
    teacher=st.builds(kinds.Teacher, id=text, hash=text),
    check=st.builds(kinds.Check, images=count, source=text, synthetic=st.booleans()),
    start=st.none() | st.builds(kinds.Start, **trained),
    seeds=st.none() | several(st.builds(kinds.Seed, seed=count, **trained)),
    skipped=st.builds(kinds.Skipped, images=counts, check=counts),
    classes=several(st.builds(kinds.ClassAgreement, name=text, images=count, agree=count)),
    next=several(text),
    forced=st.none() | text,
)


@settings(max_examples=150, deadline=None)
@given(verdicts)
def test_what_is_written_reads_back_equal(verdict: Verdict) -> None:
    assert Verdict.from_json(json.loads(json.dumps(verdict.to_json(), allow_nan=False))) == verdict


@pytest.fixture
def table() -> dict[str, Any]:
    return decide(measured.manifest(), measured.check_set(200), [], named=False).to_json()


def test_a_verdict_of_an_older_schema_is_refused_by_name(table: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text(json.dumps(table | {"schema": 1, "details": []}))
    with pytest.raises(InputError, match="has schema 1, this version reads schema 2: verify again") as raised:
        read_verdict(tmp_path)
    assert str(tmp_path / "verdict.json") in raised.value.wrong
    assert "edgedistill verify" in raised.value.todo


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"verdict": "fine"}, "verdict is 'fine'"),
        ({"reasons": ["over-budget"]}, "reasons[0] is 'over-budget'"),
        ({"agreement": {"value": 1.0}}, "agreement.low is missing"),
        ({"details": []}, "details is not a key"),
        ({"budget": None}, "budget is None"),
    ],
)
def test_a_departure_names_the_key(table: dict[str, Any], change: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as raised:
        Verdict.from_json(table | change)
    assert said in raised.value.wrong
    assert "verify" in raised.value.todo


@pytest.mark.parametrize("content", ["", "[]", "null", "{", '{"schema": 2}'])
def test_a_damaged_file_is_two_lines(tmp_path: Path, content: str) -> None:
    with pytest.raises(InputError, match=r"no verdict\.json"):
        read_verdict(tmp_path)
    (tmp_path / "verdict.json").write_text(content)
    with pytest.raises(InputError):
        read_verdict(tmp_path)


def test_a_verdict_cannot_be_changed(table: dict[str, Any]) -> None:
    with pytest.raises(AttributeError):
        Verdict.from_json(table).verdict = "pass"  # type: ignore[misc]
