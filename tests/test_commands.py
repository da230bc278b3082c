"""Every command of the installed program ends with the exit code that it promises, whatever typer is installed.

Run as processes: a gate in a script sees nothing but the exit code.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from edgedistill.cli import app

COMMAND = Path(sys.executable).parent / "edgedistill"


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *words], capture_output=True, text=True, check=False, cwd=cwd)


def groups_and_commands(application: typer.Typer = app, *path: str) -> Iterator[tuple[str, ...]]:
    """The words of every group and command: (), ("build",), ..., ("profiles",), ("profiles", "list"), ..."""
    yield path
    for command in application.registered_commands:
        yield (*path, command.name or command.callback.__name__.replace("_", "-"))
    for group in application.registered_groups:
        yield from groups_and_commands(group.typer_instance, *path, group.name)


@pytest.mark.parametrize("path", list(groups_and_commands()), ids=lambda path: " ".join(path) or "edgedistill")
def test_help_is_printed_and_exits_with_0(path: tuple[str, ...], tmp_path: Path) -> None:
    done = run(*path, "--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert " ".join(("Usage: edgedistill", *path)) in done.stdout


@pytest.mark.parametrize("words", ["--version", "profiles list", "profiles list --json", "profiles show cpu"])
def test_what_can_be_answered_here_exits_with_0(words: str, tmp_path: Path) -> None:
    done = run(*words.split(), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize(
    "words",
    [
        "build",
        "build --profile cpu",
        "verify",
        "verify /does/not/exist",
        "predict",
        "predict /does/not/exist image.png",
        "doctor --images /does/not/exist",
        "profiles show nothing",
        "nothing",
        "--nothing",
    ],
)
def test_what_cannot_be_done_exits_with_2_and_prints_no_result(words: str, tmp_path: Path) -> None:
    done = run(*words.split(), cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
