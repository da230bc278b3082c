"""Which network a student.json may describe: one of timm's by its plain name, with the arguments that shape it.

timm.create_model takes more: an address or a file of weights (pretrained, pretrained_cfg, checkpoint_path), and a name
that begins with a source (hf-hub:, local-dir:). A student brings its weights along, and its card comes from anyone: so
nothing but what is listed here is passed on.
"""

from __future__ import annotations

import re
from typing import Any

_NAME = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")  # a network of timm's, and which of its trainings
_WIDEST, _MOST = 2048, 16
# Argument -> whether it is a list of widths.
_ARGUMENTS = {"channels": True, "stem_width": False}


def why_not(name: Any, kwargs: Any) -> str | None:
    """What is wrong with a card's `name` and `kwargs`, in words that begin with the key; None where nothing is."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        return f"name is {name!r}, not the plain name of one of timm's networks"
    if not isinstance(kwargs, dict):
        return "kwargs is not a table"
    for key, value in kwargs.items():
        if key not in _ARGUMENTS:
            return f"kwargs.{key} is not one of: {', '.join(_ARGUMENTS)}"
        if not _widths(value) if _ARGUMENTS[key] else not _width(value):
            what = f"a list of at most {_MOST} whole numbers" if _ARGUMENTS[key] else "a whole number"
            return f"kwargs.{key} has to be {what} from 1 to {_WIDEST}"
    return None


def _width(value: Any) -> bool:
    return type(value) is int and 1 <= value <= _WIDEST


def _widths(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= _MOST and all(_width(one) for one in value)
