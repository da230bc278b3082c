"""One file a method: a loss, its defaults, its docstring."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, get_origin, get_type_hints

from ...errors import InputError
from .base import Method, State, StudentOut, TeacherOut, check_finite, options, view_loss
from .embedding import Embedding
from .kd import KD
from .prg import PRG

METHODS: dict[str, type[Method]] = {"prg": PRG, "kd": KD, "embedding": Embedding}
DEFAULT = "prg"

__all__ = [
    "DEFAULT",
    "KD",
    "METHODS",
    "PRG",
    "Embedding",
    "Method",
    "State",
    "StudentOut",
    "TeacherOut",
    "check_finite",
    "make",
    "options",
    "view_loss",
]


def make(name: str, given: Sequence[str] = (), **values: Any) -> Method:
    """The method called `name` with its options: typed ones as keywords, or written as "alpha=2", "edges=E1,E3".

    Raises InputError for an unknown method, an unknown option (naming the nearest), or a value of the wrong type.
    """
    if name not in METHODS:
        raise InputError(f"no method is called {name!r}", f"Use one of: {', '.join(METHODS)}.")
    method = METHODS[name]
    types = get_type_hints(method)
    known = [field.name for field in dataclasses.fields(method)]  # type: ignore[arg-type]
    for item in given:
        key, equals, text = item.partition("=")
        if key not in known or not equals:
            near = get_close_matches(key, known, n=1)
            raise InputError(
                f"{name} has no option {item!r}",
                f"Did you mean {near[0]}=...?" if near else f"Its options, as name=value: {', '.join(known)}.",
            )
        values[key] = _read(name, key, text, types[key])
    return method(**values)


def _read(method: str, key: str, text: str, kind: Any) -> Any:
    if get_origin(kind) is tuple:
        return tuple(part for part in text.split(",") if part)
    if kind is not float:
        return text  # a named choice: the method's __post_init__ knows the names
    try:
        return float(text)
    except ValueError as error:
        raise InputError(f"{method}: {key} is {text!r}", "It must be a number.") from error
