"""benchmarks/ssh_faults.py: an error a row, and no success without one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import ssh_faults

TOLD = """<testcase name="test_a_full_disk"><properties>
<property name="two lines" value="no room&#10;Free some."/><property name="two lines" value="still | none&#10;More."/>
</properties></testcase>"""
QUIET = '<testcase name="test_all_is_well"/>'
SKIPPED = '<testcase name="test_no_python"><skipped type="pytest.skip" message="needs sshd"/></testcase>'
ROWS = [
    {"fault": "a full disk", "wrong": "no room", "todo": "Free some.", "skipped": ""},
    {"fault": "a full disk", "wrong": "still | none", "todo": "More.", "skipped": ""},
    {"fault": "no python", "wrong": "", "todo": "", "skipped": "needs sshd"},
]


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark's exit code, where pytest wrote this report and ended with `code`."""

    def run(cases: str, code: int, *options: str) -> Any:
        real = subprocess.run

        def pytest_run(words: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
            report = next((word.partition("=")[2] for word in words if word.startswith("--junitxml=")), None)
            if report is None:
                return real(words, **options)
            Path(report).write_text(f"<testsuites>{cases}</testsuites>")
            return subprocess.CompletedProcess(words, code)

        monkeypatch.setattr(ssh_faults.subprocess, "run", pytest_run)
        monkeypatch.setattr(sys, "argv", ["benchmarks/ssh_faults.py", *options])
        with pytest.raises(SystemExit) as raised:
            ssh_faults.main()
        return raised.value.code

    return run


def test_every_error_is_a_row_and_goes_into_the_file(
    ended: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(TOLD + QUIET + SKIPPED, 0, "--json", str(tmp_path / "rows.json")) == 0
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert [{key: row[key] for key in ROWS[0]} for row in rows] == ROWS
    assert all(row["machine"] and row["command"].startswith("python ") for row in rows)
    printed = capsys.readouterr().out.splitlines()
    assert printed[3:] == ["| a full disk | still \\| none | More. |", "| no python | not run: needs sshd |  |"]


@pytest.mark.parametrize("cases", [SKIPPED, QUIET, ""])
def test_without_an_error_recorded_it_does_not_succeed(ended: Any, cases: str, tmp_path: Path) -> None:
    assert ended(cases, 0, "--json", str(tmp_path / "rows.json")) == ssh_faults.NOTHING
    assert not (tmp_path / "rows.json").exists()


def test_a_test_that_fails_keeps_the_rows_that_are_there(ended: Any, tmp_path: Path) -> None:
    assert ended(TOLD, 1, "--json", str(tmp_path / "rows.json")) == 1
    assert not (tmp_path / "rows.json").exists()


def test_the_rows_that_are_kept_name_no_place_user_or_machine() -> None:
    path = Path(ssh_faults.ROOT / "benchmarks/results/ssh_faults.json")
    rows = json.loads(path.read_text())
    assert len(rows) >= 20
    for row in rows:
        assert not any(word in f"{row['wrong']} {row['todo']}" for word in ("/home", "/tmp", "/work", "root@", "127.0"))
