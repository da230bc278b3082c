"""A whole build that is measured on a board by ssh: the command line, and a real sshd on the loopback interface."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import loopback
import pytest
from tiny_build import flags, write_inputs, write_profile

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(loopback.why_not() is not None, reason=str(loopback.why_not())),
]


def test_a_build_is_measured_on_the_board_which_then_predicts_with_what_was_selected(
    tmp_path: Path, tiny_teacher_folder: Path
) -> None:
    """fp16 is asked for, which is not what run.py takes before there is a verdict."""
    folder = write_inputs(tmp_path / "in")
    write_profile(folder / "quick.toml", precisions='["fp32", "fp16"]')
    with loopback.Board(tmp_path / "board") as board:
        options = flags(folder, tiny_teacher_folder, device=board.url, precision="fp16")
        done = subprocess.run(
            [sys.executable, "-m", "edgedistill", "build", *options],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={**board.environment, "OMP_NUM_THREADS": "1"},
        )
        there = board.home / "edgedistill/bundle"
    assert done.returncode in (0, 3), done.stderr  # measured; a student of two epochs may be outside its budgets
    verdict = json.loads((folder / "bundle/verdict.json").read_text())
    assert verdict["selected"] == "fp16"
    assert {one["runtime"] for one in verdict["precision_candidates"]} == {"onnxruntime-cpu"}
    assert (there / "verdict.json").read_bytes() == (folder / "bundle/verdict.json").read_bytes()
    photo = next(path for path in sorted((folder / "photos").rglob("*")) if path.is_file())
    selected, fp16, fp32 = (
        predicted(there, str(photo), *model) for model in ((), ("--model", "fp16"), ("--model", "fp32"))
    )
    assert selected == fp16
    assert selected != fp32


def predicted(bundle: Path, *arguments: str) -> str:
    """What `run.py predict` prints there."""
    command = [sys.executable, "run.py", "predict", "--json", "--threads", "1", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, cwd=bundle, env=environment, check=True, capture_output=True, text=True).stdout
