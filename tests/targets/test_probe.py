"""A package that ends its process, or raises anything, is told in two lines by a process that lives on."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedistill.targets import cudart, names, probe, runtimes
from edgedistill.targets.errors import TargetError

NOT_HERE = TargetError("it is not here", "Install it.")


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


TENSORRT = """
__version__ = "10.9.0.34"
class ILogger:
    class Severity:
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)
    def __init__(self): pass
class Runtime:
    def __init__(self, logger):
        logger.log(ILogger.Severity.WARNING, "CUDA initialization failure with error: 35")
        raise TypeError("pybind11::init(): factory function returned nullptr")
"""


def test_a_tensorrt_that_cannot_start_cuda_is_not_usable_though_it_can_be_imported(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "tensorrt.py").write_text(TENSORRT)
    monkeypatch.setattr(runtimes, "problem", lambda name: None if name == names.TENSORRT else NOT_HERE)
    assert probe.import_problem("tensorrt") is None
    error = probe.ask_all()[names.TENSORRT]
    assert error is not None
    assert error.wrong == "TensorRT 10.9.0.34 cannot start CUDA: CUDA initialization failure with error: 35"
    assert "nvidia-smi" in error.todo


PROVIDERS = "['CUDAExecutionProvider', 'TensorrtExecutionProvider', 'CPUExecutionProvider']"
ONNXRUNTIME = f"""
import sys
sys.path.remove({{folder!r}})
for name in [name for name in sys.modules if name.startswith("onnxruntime")]:
    del sys.modules[name]
import onnxruntime
onnxruntime.get_available_providers = lambda: {PROVIDERS}
"""


def test_an_onnxruntime_whose_provider_does_not_load_is_not_usable_though_it_lists_it(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As onnxruntime-gpu without cuDNN: it starts the processor's provider in CUDA's place."""
    (package / "onnxruntime").mkdir()
    (package / "onnxruntime/__init__.py").write_text(ONNXRUNTIME.format(folder=str(package)))
    for name in (names.CUDA, names.ORT_TENSORRT):
        error = probe.start_problem(name)
        assert error is not None
        assert "ExecutionProvider" in error.wrong
    assert probe.start_problem(names.CPU) is None


def test_a_runtime_that_ends_its_process_as_it_starts_or_takes_too_long_is_told(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "tensorrt.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n")
    error = probe.start_problem(names.TENSORRT)
    assert error is not None
    assert error.wrong == "tensorrt ends its process by SIGSEGV"
    (package / "tensorrt.py").write_text("raise Exception('no such symbol')\n")
    error = probe.start_problem(names.TENSORRT)
    assert error is not None
    assert error.wrong == "tensorrt does not start: Exception: no such symbol"
    (package / "tensorrt.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(probe, "TIMEOUT_S", 1)
    error = probe.start_problem(names.TENSORRT)
    assert error is not None
    assert "did not start within 1 s" in error.wrong


def test_the_tiny_graphs_are_what_they_are_said_to_be() -> None:
    onnx = pytest.importorskip("onnx")
    convolution, nothing = map(onnx.load_from_string, (probe._CONVOLUTION, probe._NOTHING))
    for model in (convolution, nothing):
        onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in convolution.graph.node] == ["Conv"]
    assert [*nothing.graph.node] == []


def test_every_runtime_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cudart, "gpus", lambda: [])
    found = probe.ask_all()
    assert list(found) == list(names.RUNTIMES)
    assert found[names.CPU] is None
    for name in (names.CUDA, names.ORT_TENSORRT, names.TENSORRT, names.TORCH_TENSORRT):
        assert found[name] is not None
        assert runtimes.problem(name) is not None
