"""The lowest versions that pyproject.toml allows, as constraints for pip; `make lowest` installs exactly these.

    python tools/lowest_pins.py > pins.txt          the light half, and what builds the package
    python tools/lowest_pins.py build > pins.txt    the same with an extra, or several

Only direct dependencies are pinned; what they need in turn is the newest that fits, as it is for a user. torch and
torchvision are taken from constraints-cpu.txt: no index holds a CPU build of their lowest versions. Needs `packaging`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parents[1]


def requirements(project: dict[str, Any], extras: list[str]) -> Iterator[Requirement]:
    """What the build system, the light half and `extras` ask for."""
    texts = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    for extra in extras:
        texts += project["project"]["optional-dependencies"][extra]
    yield from map(Requirement, texts)


def pin(requirement: Requirement) -> str:
    """`name==lowest`, with the marker that it has; ValueError where no lower bound is declared."""
    lowest = [part.version for part in requirement.specifier if part.operator in (">=", "==", "~=")]
    if len(lowest) != 1:
        raise ValueError(f"{requirement}: no lower bound")
    marker = f"; {requirement.marker}" if requirement.marker else ""
    return f"{requirement.name}=={lowest[0]}{marker}"


def pins(extras: list[str]) -> list[str]:
    """A constraint for every direct dependency, those of constraints-cpu.txt as they stand there."""
    fixed = [Requirement(line) for line in (ROOT / "constraints-cpu.txt").read_text().splitlines() if line[:1] != "#"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = list(requirements(project, extras))
    names = {requirement.name for requirement in fixed}
    return [pin(one) for one in asked if one.name not in names] + [str(one) for one in fixed]


if __name__ == "__main__":
    print("\n".join(pins(sys.argv[1:])))
