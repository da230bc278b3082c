"""NVIDIA's bindings are imported where their wheels are: TENSORRT_WHEELS names a folder that `pip download` filled."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WHEELS = sorted(Path(os.environ.get("TENSORRT_WHEELS", "no such folder")).glob("tensorrt*bindings*.whl"))


@pytest.mark.skipif(not WHEELS, reason="TENSORRT_WHEELS names no folder with wheels of tensorrt-cu12-bindings")
@pytest.mark.parametrize("wheel", WHEELS, ids=lambda path: path.name.split("-")[1])
def test_the_names_that_the_stand_ins_have_are_those_of_the_bindings(wheel: Path) -> None:
    known = json.loads((ROOT / "tests" / "tensorrt_names.json").read_text())
    command = [sys.executable, ROOT / "tools" / "tensorrt_names.py", wheel]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert {version: known[version] for version in found} == found
