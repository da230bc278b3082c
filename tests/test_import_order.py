"""Imports point one way only, type-only ones included: the list of rooms is the architecture."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Each may import what stands before it; names in one row know nothing of each other.
ORDER = (
    ("errors", "targets"), ("records", "labels", "choices"), ("profiles",), ("work",), ("images",), ("teacher",),
    ("classes",), ("distil",), ("export",), ("bundle",), ("devices",), ("verdict",),
    ("settings", "runtime", "profile_text"), ("line", "doctor"), ("api",), ("cli",), ("__main__",),
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


def test_no_room_imports_from_a_later_one() -> None:
    wrong = []
    for folder in ("edgedistill", "targets", "profiles"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            package = ["edgedistill", *path.relative_to(ROOT).parts[folder == "edgedistill" : -1]]
            me = package[1] if len(package) > 1 else path.stem
            if me == "__init__":  # the public surface names what it hands out lazily
                continue
            for name in (parts[0] for parts in imports(path, package)):
                if name != me and not name.startswith("__") and LEVEL[name] >= LEVEL[me]:
                    wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []
