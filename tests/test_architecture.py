"""docs/architecture.md has a line about every file, and CONTRIBUTING.md's ways are short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def test_every_file_has_its_line_in_the_map() -> None:
    page = (ROOT / "docs/architecture.md").read_text()
    listed = re.findall(r"^\| \[[\w.]+\]\(\.\./([\w/.]+\.py)\) \| \S", page, re.M)
    folders = (ROOT / name for name in ("edgedistill", "targets", "profiles"))
    here = [path.relative_to(ROOT) for folder in folders for path in folder.rglob("*.py")]
    rooms = {path for path in here if path.name == "__init__.py" and path.as_posix() not in listed}
    assert sorted(listed) == sorted(path.as_posix() for path in here if path not in rooms)
    for room in rooms:  # those of the rooms hold a docstring and no more
        assert len((ROOT / room).read_text().splitlines()) <= 3


@pytest.mark.parametrize("what", ["method", "board", "runtime", "device"])
def test_what_can_be_added_takes_at_most_six_steps(what: str) -> None:
    section = re.search(rf"^## Add a {what}$(.*?)^## ", (ROOT / "CONTRIBUTING.md").read_text(), re.M | re.S)
    assert section is not None
    steps = re.findall(r"^(\d)\. ", section.group(1), re.M)
    assert steps == [str(number) for number in range(1, len(steps) + 1)]
    assert 2 <= len(steps) <= 6
