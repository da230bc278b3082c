"""An option's value from the words of a command line: "0.5", "true", "class,images", "none".

The annotation of the option's field says how to read them. Whether the value then is one that the field may have is
asked afterwards, of every value alike (`records.conform`).
"""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin


def from_text(text: str, hint: Any) -> Any:
    """`text` as a value of type `hint`, or unchanged where it cannot be read as one.

    `hint` is int, float, bool, str, a Literal, a tuple of these (values between commas), or one of these or None.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        (inner,) = (arg for arg in args if arg is not type(None))
        return None if text.lower() == "none" else from_text(text, inner)
    if origin is tuple:
        parts = [part.strip() for part in text.split(",") if part.strip()]
        kinds = args[:1] * len(parts) if args[-1] is Ellipsis else args
        return tuple(from_text(part, kind) for part, kind in zip(parts, kinds)) + tuple(parts[len(kinds) :])
    if origin is Literal:
        return next((choice for choice in args if str(choice) == text), text)
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            return text
    return text
