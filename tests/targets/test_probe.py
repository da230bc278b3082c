"""A package that ends its process, or raises anything, is told in two lines by a process that lives on."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedistill.targets import cudart, names, probe, runtimes


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that Python looks in first."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGILL)", "import broken ends its process by SIGILL"),
        ("raise Exception('import error, got error Could not find libnvinfer.so.11')", "libnvinfer.so.11"),
        ("raise AttributeError('_ARRAY_API not found')", "_ARRAY_API not found"),
        ("import sys\nsys.exit(7)", "exit code 7"),
    ],
)
def test_a_package_that_breaks_is_told_in_two_lines(package: Path, content: str, said: str) -> None:
    (package / "broken.py").write_text(content)
    error = probe.import_problem("broken")
    assert error is not None
    assert said in error.wrong
    assert error.todo


def test_a_package_that_loads_or_is_not_there_is_no_problem_of_its_import(package: Path) -> None:
    (package / "fine.py").write_text("value = 1\n")
    assert probe.import_problem("fine") is None
    assert probe.import_problem("not_there") is None


def test_a_slow_import_is_given_up(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (package / "slow.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(probe, "TIMEOUT_S", 1)
    error = probe.import_problem("slow")
    assert error is not None
    assert "within 1 s" in error.wrong


def test_a_broken_onnxruntime_names_a_version_that_works(package: Path) -> None:
    (package / "onnxruntime").mkdir()
    (package / "onnxruntime/__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    error = probe.import_problem("onnxruntime")
    assert error is not None
    assert "onnxruntime==1.20.1" in error.todo


def test_every_runtime_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cudart, "gpus", lambda: [])
    found = probe.ask_all()
    assert list(found) == list(names.RUNTIMES)
    assert found[names.CPU] is None
    for name in (names.CUDA, names.ORT_TENSORRT, names.TENSORRT, names.TORCH_TENSORRT):
        assert found[name] is not None
        assert runtimes.problem(name) is not None
