"""Dataclasses from JSON or TOML tables and back, every key and type checked: the workshop's one typed reader.

A file of ours is described once, as frozen dataclasses; `read` makes them from a parsed table and `plain` turns them
into JSON values again. A field may be str, bool, int, float, a Literal, another dataclass, `X | None`, `tuple[X, ...]`,
`tuple[X, Y]`, `dict[str, X]` or Any. What a type cannot say (a range, names that must agree) is for whoever asked.

The device reads its files without this module: targets/ knows the standard library and numpy alone.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from .errors import InputError
from .targets.printable import line

T = TypeVar("T")

LONGEST = 300  # characters of a value that an error shows
_NAMES = {
    str: "a string",
    int: "a whole number",
    float: "a finite number",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def read(cls: type[T], table: Any, where: str, prefix: str = "") -> T:
    """The dataclass `cls` from `table`. Raises InputError naming `where` (the file) and the key, `prefix` before it,
    for an unknown, missing or mistyped one. A whole number does for a float and stays one, so that `plain` gives back
    what was read; a number that is not finite does not."""
    table = value_of(dict, table, where, prefix.rstrip(".") or "the file")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            todo = f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(fields)}."
            raise wrong(where, prefix + str(key), "is not a key that is known here", todo)
    for key, field in fields.items():
        if key not in table and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise wrong(where, prefix + key, "is missing", "Add it.")
    return cls(**{key: value_of(hints[key], value, where, prefix + key) for key, value in table.items()})


def value_of(hint: Any, value: Any, where: str, key: str) -> Any:
    """`value` as a field of type `hint`: lists become tuples, tables become dataclasses. Raises InputError."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (types.UnionType, typing.Union):  # only "X | None" is used
        (inner,) = (arg for arg in args if arg is not type(None))
        return None if value is None else value_of(inner, value, where, key)
    if origin is typing.Literal:
        if not any(value == choice and type(value) is type(choice) for choice in args):
            raise wrong(where, key, f"is {value!r}", f"Use one of: {', '.join(map(str, args))}.")
        return value
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else read(hint, value, where, key + ".")
    if origin is tuple:
        items = value_of(list, list(value) if isinstance(value, tuple) else value, where, key)
        if args[-1] is not Ellipsis and len(items) != len(args):
            raise wrong(where, key, f"has {len(items)} values, not {len(args)}", f"Write {len(args)} values.")
        kinds = [args[0]] * len(items) if args[-1] is Ellipsis else args
        return tuple(value_of(kind, item, where, f"{key}[{i}]") for i, (kind, item) in enumerate(zip(kinds, items)))
    if origin in (dict, Mapping):
        table = value_of(dict, value, where, key)
        return {name: value_of(args[1], item, where, f"{key}.{name}") for name, item in table.items()}
    accepted = (int, float) if hint is float else hint
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        raise wrong(where, key, f"is {value!r}", f"It has to be {_NAMES[hint]}.")
    if isinstance(value, float) and not math.isfinite(value):
        raise wrong(where, key, f"is {value}", "It has to be a finite number.")
    return value


def conform(record: Any, where: str) -> None:
    """Check every field of a frozen dataclass against its annotation; for its `__post_init__`.

    Lists become tuples, and a whole number becomes the float that its field asks for. Raises InputError naming `where`
    and the field.
    """
    hints = typing.get_type_hints(type(record))
    for field in dataclasses.fields(record):
        hint = hints[field.name]
        value = value_of(hint, getattr(record, field.name), where, field.name)
        if type(value) is int and float in (hint, *typing.get_args(hint)):
            try:
                value = float(value)
            except OverflowError as error:
                raise wrong(where, field.name, "is too large", "It has to be a finite number.") from error
        object.__setattr__(record, field.name, value)


def plain(value: Any) -> Any:
    """Dataclasses and tuples as JSON values: the inverse of `read`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    return value


def wrong(where: str, key: str, what: str, todo: str) -> InputError:
    """The error for one key of a file."""
    return InputError(f"{where}: {line(key, LONGEST)} {line(what, LONGEST)}", todo)
