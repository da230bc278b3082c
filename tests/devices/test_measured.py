"""How a run of `run.py verify` ended, in two lines; and why it was made again."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from edgedistill.devices import measured
from edgedistill.devices.measured import HERE, failure, told_again
from edgedistill.targets import lifeline
from edgedistill.targets.length import AGAIN


def test_its_own_two_lines_are_kept_and_a_board_is_named() -> None:
    said = ["a warning", "error: the bundle is damaged", "Copy it again.", ""]
    assert failure(said, 2, HERE, "?").wrong == "the bundle is damaged"
    there = failure(said, 2, "pi@board", "?")
    assert (there.wrong, there.todo) == ("on pi@board: the bundle is damaged", "Copy it again.")


@pytest.mark.parametrize(("said", "code", "last"), [([], -6, "exit code -6"), (["ValueError: x"], 1, "ValueError: x")])
def test_a_run_that_died_is_told_with_its_last_line(said: list[str], code: int, last: str) -> None:
    found = failure(said, code, "pi@board", "Look there.")
    assert (found.wrong, found.todo) == (f"measuring on pi@board failed: {last}", "Look there.")


def test_a_run_that_the_kernel_ended_is_told_to_need_memory() -> None:
    assert "Memory may have run out" in failure([], -9, HERE, "?").todo


def test_only_the_lines_about_another_run_are_told_on() -> None:
    assert told_again(["W: a plug-in", f"{AGAIN}: too hot", "written"]) == [f"{AGAIN}: too hot"]


def test_results_that_the_bundle_cannot_take_are_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "found.json").write_text("measured")
    (tmp_path / "results").symlink_to("/proc/nowhere")
    (kept,) = measured.kept(tmp_path / "results", [tmp_path / "found.json"])
    assert kept.read_text() == "measured"
    assert f"they lie in {kept.parent}" in caplog.text


def test_a_run_that_the_kernel_ended_is_told_as_short_memory() -> None:
    found = failure([], lifeline.KILLED, HERE, "")
    assert found.wrong == "measuring on this machine was ended by signal 9"
    assert found.todo == "Memory may have run out: free some memory and run the command again."
