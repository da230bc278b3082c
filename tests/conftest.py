"""Shared by all tests: no request to any hub, tests/ importable, and one tiny real teacher."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub
os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # before anything imports onnxruntime
sys.path.insert(0, str(Path(__file__).parent))

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test logged may hold a file name that is not UTF-8, which no worker can send to the main process."""
    report = yield
    report.sections = [(name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections]
    return report


@pytest.fixture
def cuda() -> Any:
    """A GPU, as torch names it. Tests that ask for one are skipped where there is none; benchmarks/gpu.sh runs them."""
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no GPU")
    return torch.device("cuda")


@pytest.fixture(scope="session")
def tiny_teacher_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local-dir teacher that knows the classes of tiny_images; do not change it, copy it."""
    from tiny_teacher import write_tiny_teacher

    return write_tiny_teacher(tmp_path_factory.mktemp("teacher") / "tiny")


@pytest.fixture(scope="session")
def tiny_teacher(tiny_teacher_folder: Path):
    """The same, loaded: an edgedistill.teacher.Teacher in float32 on the CPU."""
    from edgedistill.teacher.names import find_teacher
    from edgedistill.teacher.tower import Teacher

    return Teacher(find_teacher(f"local-dir:{tiny_teacher_folder}"), dtype="float32")


@pytest.fixture(scope="session")
def built_folder(tmp_path_factory: pytest.TempPathFactory, tiny_teacher_folder: Path) -> Iterator[Path]:
    """A folder with labels.txt, photos/, check/, quick.toml, and the bundle/ and work/ that one build made of them.

    All tests of a worker share it, so none may change it (`built_copy` is for those that do); the end of the session
    fails where one did.
    """
    from tiny_build import settings, write_inputs

    from edgedistill.line import build

    folder = write_inputs(tmp_path_factory.mktemp("built"))
    build(settings(folder, tiny_teacher_folder))
    before = contents(folder)
    yield folder
    assert contents(folder) == before, "a test changed what all tests share"


@pytest.fixture
def built_copy(built_folder: Path, tmp_path: Path) -> Path:
    """A copy of `built_folder` to change at will."""
    return Path(shutil.copytree(built_folder, tmp_path / "built"))


def contents(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file below `folder`, the lock of the work folder aside."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".lock")
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
