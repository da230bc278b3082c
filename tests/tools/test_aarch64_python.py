"""The command that stands for an emulated Python, and what is said where it cannot be made. qemu is not needed: what it
then runs is tested in tests/targets/test_aarch64.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))
import aarch64_python


def test_the_command_runs_that_python_under_qemu_and_names_itself_as_the_executable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a folder with a space, and with arguments that a shell would split."""
    shows = tmp_path / "shows"
    shows.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    shows.chmod(0o755)
    monkeypatch.setattr(aarch64_python, "QEMU", str(shows))
    root, python = tmp_path / "the root", tmp_path / "python"
    (root / "usr/bin").mkdir(parents=True)
    aarch64_python.write_command(root, python)
    for command in (python, root / "usr/bin/python3"):
        said = subprocess.run([str(command), "-c", "a  'b"], capture_output=True, text=True, check=True).stdout
        inside = f"{root}/usr/bin/python3"
        assert said.splitlines() == ["-0", inside, "-L", str(root), f"{inside}.11", "-c", "a  'b"]


def test_a_command_that_fails_ends_it_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="ended with 3: no room"):
        aarch64_python.run(["sh", "-c", "echo a; echo no room >&2; exit 3"], tmp_path)


def test_a_machine_without_qemu_is_told_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match=r"qemu-aarch64, apt-get, dpkg .*apt-get install qemu-user"):
        aarch64_python.ready(tmp_path / "made")
    assert not (tmp_path / "made").exists()
