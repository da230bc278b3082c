"""The lowest versions are read from pyproject.toml, and each direct dependency has one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
EXTRAS = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
OURS = {"dev", "tools"}  # what we work with ourselves: always the newest


def pinned(*extras: str) -> dict[str, str]:
    """name -> version, as the tool prints them."""
    command = [sys.executable, ROOT / "tools" / "lowest_pins.py", *extras]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = map(Requirement, printed.splitlines())
    return {one.name: str(one.specifier).removeprefix("==") for one in found}


def test_every_dependency_of_the_light_half_has_a_lowest_version() -> None:
    assert {"numpy", "onnxruntime", "pillow", "rich", "typer", "tomli", "setuptools"} <= set(pinned())
    assert "onnx" not in pinned()


@pytest.mark.parametrize("extra", sorted(EXTRAS - OURS))
def test_every_dependency_of_an_extra_has_a_lowest_version(extra: str) -> None:
    assert set(pinned(extra)) >= set(pinned())


def test_torch_is_the_cpu_build_that_exists() -> None:
    fixed = dict(line.split("==") for line in (ROOT / "constraints-cpu.txt").read_text().split() if "==" in line)
    assert {name: pinned("build")[name] for name in fixed} == fixed
