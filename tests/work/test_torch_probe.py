"""What torch can do with the GPU is asked for real, in another process; whatever hinders it is one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from edgedistill.work import torch_probe


def test_it_says_whether_torch_computes_on_the_gpu_of_this_machine() -> None:
    asked = torch_probe.ask()
    assert asked.cuda == torch.version.cuda
    assert (asked.problem == "") == torch.cuda.is_available()
    assert "\n" not in asked.problem


def test_a_torch_that_does_not_load_is_a_problem_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libcudnn.so.9: cannot open shared object file')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert torch_probe.ask().problem == "ImportError: libcudnn.so.9: cannot open shared object file"


def test_a_torch_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_probe, "TIMEOUT_S", 0.01)
    assert torch_probe.ask().problem == "it did not answer within 0.01 s"


def test_asking_loads_no_torch_here() -> None:
    program = "import sys\nfrom edgedistill.work.torch_probe import ask\nask()\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
