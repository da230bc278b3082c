"""The list of packages in pyproject.toml is the list of folders: none is forgotten in the wheel."""

from __future__ import annotations

import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[2]
SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_folder_with_code_is_a_listed_package() -> None:
    found = set()
    for name, folder in SETUPTOOLS["package-dir"].items():
        for path in (ROOT / folder).rglob("*.py"):
            found.add(".".join((name, *path.parent.relative_to(ROOT / folder).parts)))
    assert sorted(SETUPTOOLS["packages"]) == sorted(found)
