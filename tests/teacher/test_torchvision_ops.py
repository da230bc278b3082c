"""torchvision imports beside any torch, and one that matches its torch is left untouched."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HEALTHY = "answer = 42\n"
MISMATCHED = """\
import torch
from . import half  # imported before the failure, so it stays behind in sys.modules
if not hasattr(torch.ops.torchvision, "nms"):
    raise RuntimeError("operator torchvision::nms does not exist")
"""
BROKEN = "raise RuntimeError('libcudart.so.13: something else entirely')\n"


def run(code: str, *, fake_torchvision: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs code in a fresh interpreter: the question is what the first import of a process does."""
    path = [str(fake_torchvision)] if fake_torchvision else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def fake(tmp_path: Path):
    def write(init: str) -> Path:
        package = tmp_path / "torchvision"
        package.mkdir()
        (package / "__init__.py").write_text(init)
        (package / "half.py").write_text("import sys\nsys.half_imports = getattr(sys, 'half_imports', 0) + 1\n")
        return tmp_path

    return write


def test_the_installed_torchvision_serves_timm_and_open_clip():
    done = run(
        "from edgedistill.teacher.torchvision_ops import ensure_torchvision\n"
        "first, second = ensure_torchvision(), ensure_torchvision()\n"
        "import open_clip, timm, torch\n"
        "from torchvision.transforms import Resize\n"
        "assert first == second\n"
        "assert Resize(8)(torch.zeros(3, 16, 16)).shape == (3, 8, 8)\n"
    )
    assert done.returncode == 0, done.stderr


def test_a_matching_torchvision_gets_no_declarations(fake):
    done = run(
        "from edgedistill.teacher.torchvision_ops import ensure_torchvision\n"
        "assert ensure_torchvision() is False\n"
        "import torch, torchvision\n"
        "assert torchvision.answer == 42\n"
        "assert not hasattr(torch.ops.torchvision, 'nms') and not hasattr(torch.ops.torchvision, 'qnms')\n",
        fake_torchvision=fake(HEALTHY),
    )
    assert done.returncode == 0, done.stderr


def test_a_mismatched_torchvision_is_imported_anew_on_declared_operators(fake):
    done = run(
        "import sys\n"
        "from edgedistill.teacher.torchvision_ops import ensure_torchvision\n"
        "assert ensure_torchvision() is True\n"
        "import torch, torchvision\n"
        "assert hasattr(torch.ops.torchvision, 'nms') and hasattr(torch.ops.torchvision, 'qnms')\n"
        "assert sys.half_imports == 2, 'the half-imported submodule must not be reused'\n",
        fake_torchvision=fake(MISMATCHED),
    )
    assert done.returncode == 0, done.stderr


def test_any_other_failure_is_not_covered_up(fake):
    done = run(
        "from edgedistill.teacher.torchvision_ops import ensure_torchvision\nensure_torchvision()\n",
        fake_torchvision=fake(BROKEN),
    )
    assert done.returncode != 0
    assert "something else entirely" in done.stderr


def test_a_missing_package_names_the_extra_that_brings_it():
    done = run(
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'torchvision':\n"
        "            raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from edgedistill.errors import InputError\n"
        "from edgedistill.teacher.torchvision_ops import ensure_torchvision\n"
        "try:\n"
        "    ensure_torchvision()\n"
        "except InputError as error:\n"
        "    assert 'torchvision' in error.wrong and '.[build]' in error.todo\n"
        "else:\n"
        "    raise SystemExit('no error')\n"
    )
    assert done.returncode == 0, done.stderr
