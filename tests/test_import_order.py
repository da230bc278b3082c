"""Imports point one way only, type-only ones included: the list of rooms is the architecture."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Each may import what stands before it; names in one row know nothing of each other.
ORDER = (
    ("targets",), ("errors",), ("text_file",), ("toml_file",), ("records", "labels", "choices"), ("profiles",),
    ("work",), ("images",), ("teacher",), ("classes",), ("synthesis",), ("distil",), ("export",), ("bundle",),
    ("devices",), ("verdict",),
    ("settings", "runtime", "profile_text", "bench"), ("request", "no_photos"), ("line", "doctor"), ("api",), ("cli",),
    ("__main__",),
)  # fmt: skip
LEVEL = {name: level for level, row in enumerate(ORDER) for name in row}


def imports(path: Path, package: list[str]) -> list[list[str]]:
    """Dotted names that a file imports from edgedistill, as parts below it; `package` is where the file lies."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = base + (node.module or "").split(".") if node.module else base
            found += [[*module, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name.split(".") for alias in node.names]
    return [parts[1:] for parts in found if parts[0] == "edgedistill" and len(parts) > 1]


def files() -> Iterator[tuple[Path, list[str]]]:
    """Every file of the package and its place in it, as parts: (edgedistill/work/stage.py, [edgedistill, work, stage]).

    A package's own file is named by its folder: edgedistill/work/__init__.py is [edgedistill, work].
    """
    for folder in ("edgedistill", "targets", "profiles"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            place = ["edgedistill", *path.relative_to(ROOT).with_suffix("").parts[folder == "edgedistill" :]]
            yield path, place[:-1] if place[-1] == "__init__" else place


def package_of(path: Path, place: list[str]) -> list[str]:
    return place if path.name == "__init__.py" else place[:-1]


def test_no_room_imports_from_a_later_one() -> None:
    wrong = []
    for path, place in files():
        if place == ["edgedistill"]:  # the public surface names what it hands out lazily
            continue
        for name in (parts[0] for parts in imports(path, package_of(path, place))):
            if name != place[1] and not name.startswith("__") and LEVEL[name] >= LEVEL[place[1]]:
                wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_no_two_files_of_a_room_import_each_other() -> None:
    """Taking away, again and again, the files that import none of those left ends with none left."""
    known = {".".join(place[1:]) for _, place in files() if len(place) > 1}
    left: dict[str, set[str]] = {}
    for path, place in files():
        found = imports(path, package_of(path, place))
        names = ([".".join(parts[:length]) for length in range(len(parts), 0, -1)] for parts in found)
        left[".".join(place[1:])] = {next(filter(known.__contains__, longest_first), "") for longest_first in names}
    del left[""]
    while free := {me for me, needed in left.items() if not needed & left.keys()}:
        for me in free:
            del left[me]
    assert left == {}
