"""The methods, by name. One file a method: a loss, its options, its docstring.

A new one is a file beside this one, with a frozen dataclass that extends `Method` (base.py), and a line in METHODS.
Nothing here imports torch, so that the command line can list the methods; `make` imports the one that is asked for.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, get_type_hints

from ...errors import InputError
from .text import from_text

if TYPE_CHECKING:
    from .base import Method

METHODS = {
    "prg": ".prg:PRG",
    "promptkd": ".promptkd:PromptKD",
    "eikd": ".eikd:EIKD",
    "data-free": ".data_free:DataFree",
    "kd": ".kd:KD",
    "embedding": ".embedding:Embedding",
    "dkd": ".dkd:DKD",
    "dist": ".dist:DIST",
    "ls": ".ls:LS",
    "affinity": ".affinity:Affinity",
    "queue": ".queue:Queue",
    "nvidia": ".nvidia:Nvidia",
}
"""Name -> module and class."""


def make(name: str, given: Sequence[str] = (), /, **values: Any) -> Method:
    """The method called `name` with its options: typed ones as keywords, or written as "alpha=2", "edges=class,images".

    Raises InputError for an unknown method, an unknown option (naming the nearest), or a value of the wrong type.
    """
    if name not in METHODS:
        raise InputError(f"no method is called {name!r}", f"Use one of: {', '.join(METHODS)}.")
    module, _, cls = METHODS[name].partition(":")
    method = getattr(importlib.import_module(module, __name__), cls)
    types = get_type_hints(method)
    known = {field.name: types[field.name] for field in dataclasses.fields(method)}
    written = dict(_split(name, item) for item in given)
    for key in (*written, *values):
        if key not in known:
            near = get_close_matches(key, known, n=1)
            todo = f"Did you mean {near[0]}?" if near else f"Its options are: {', '.join(known)}."
            raise InputError(f"{name} has no option {key!r}", todo)
    made: Method = method(**values | {key: from_text(text, known[key]) for key, text in written.items()})
    return made


def _split(method: str, item: str) -> tuple[str, str]:
    key, equals, text = item.partition("=")
    if not equals:
        raise InputError(f"the option {item!r} of {method} has no value", f"Write it as {item}=VALUE.")
    return key, text


def options(method: Method) -> dict[str, Any]:
    """The method's name and every option, as written at the head of metrics.jsonl."""
    return {"method": method.name, **dataclasses.asdict(method)}
