"""What a verdict takes from a bundle's manifest beside what a device needs, its types checked before it is decided.

A manifest is not among the files that it bears the sums of, and so may have been edited by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from ..errors import InputError
from ..records import read
from .verdict import Teacher

MANIFEST = "the manifest"


@dataclass(frozen=True, kw_only=True)
class Built:
    """A model that was built."""

    file: str
    precision: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class NotBuilt:
    """A precision that was asked for, and why there is no model of it."""

    precision: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Power:
    """The power mode that the board ships in."""

    default: str | None = None


@dataclass(frozen=True, kw_only=True)
class Stated:
    """Of manifest.json; the keys that are not here are others' to check."""

    models: tuple[Built, ...]
    teacher: Teacher
    budget: dict[str, float]
    power: Power | None = None  # of the profile
    not_built: tuple[NotBuilt, ...] = ()
    budget_overrides: dict[str, float] = field(default_factory=dict)
    forced: str | None = None
    seeds: tuple[dict[str, Any], ...] | None = None
    skipped: dict[str, int] = field(default_factory=dict)


def check_stated(manifest: dict[str, Any]) -> None:
    """Raise InputError naming the key of `manifest` that is missing or of another type."""
    table = _of(Stated, manifest) | {"power": _of(Power, manifest["profile"].get("power"))}
    for name, kind in (("models", Built), ("not_built", NotBuilt)):
        if isinstance(table.get(name), list):
            table[name] = [_of(kind, entry) for entry in table[name]]
    if "teacher" in table:
        table["teacher"] = _of(Teacher, table["teacher"])
    try:
        read(Stated, table, MANIFEST)
    except InputError as error:
        raise InputError(error.wrong, "Build the bundle again, or copy it again from where it was built.") from error


def _of(kind: Any, table: Any) -> Any:
    """The keys of a table that `kind` has; anything else as it is."""
    known = {one.name for one in fields(kind)}
    return {key: value for key, value in table.items() if key in known} if isinstance(table, Mapping) else table
