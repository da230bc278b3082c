"""How a run of `run.py verify` ended, in two lines; and whether it is worth making again."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from edgedistill.devices import measured
from edgedistill.devices.measured import HERE, failure, passing_flaws
from edgedistill.targets.flaws import Flaw


def test_its_own_two_lines_are_kept_and_a_board_is_named() -> None:
    said = ["a warning", "error: the bundle is damaged", "Copy it again.", ""]
    assert failure(said, 2, HERE, "?").wrong == "the bundle is damaged"
    there = failure(said, 2, "pi@board", "?")
    assert (there.wrong, there.todo) == ("on pi@board: the bundle is damaged", "Copy it again.")


@pytest.mark.parametrize(("said", "code", "last"), [([], -9, "exit code -9"), (["ValueError: x"], 1, "ValueError: x")])
def test_a_run_that_died_is_told_with_its_last_line(said: list[str], code: int, last: str) -> None:
    found = failure(said, code, "pi@board", "Look there.")
    assert (found.wrong, found.todo) == (f"measuring on pi@board failed: {last}", "Look there.")


def test_only_what_may_pass_is_worth_another_run_and_a_stranger_s_file_is_not_read_for_it(tmp_path: Path) -> None:
    flaws = [
        Flaw("throttled", "under-voltage"),
        Flaw("golden", value=1.0, limit=0.1),
        Flaw("throttled", "under-voltage"),
    ]
    (tmp_path / "a.json").write_text(json.dumps({"invalid": [flaw.to_json() for flaw in flaws]}))
    for name, content in {"b": "[1]", "c": "{", "d": '{"invalid": 3}', "e": '{"invalid": [{"code": "hot"}]}'}.items():
        (tmp_path / f"{name}.json").write_text(content)
    assert passing_flaws(tmp_path) == ["throttled: under-voltage"]


def test_results_that_the_bundle_cannot_take_are_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "found.json").write_text("measured")
    (tmp_path / "results").symlink_to("/proc/nowhere")
    (kept,) = measured.kept(tmp_path / "results", [tmp_path / "found.json"])
    assert kept.read_text() == "measured"
    assert f"they lie in {kept.parent}" in caplog.text
