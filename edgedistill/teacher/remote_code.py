"""Keeps transformers from running code that lies beside a model, where open_clip leaves that question open."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_FACTORIES = ("AutoConfig", "AutoModel")


class _Refusing:
    """One of transformers' Auto classes, whose makers are told that no remote code is trusted."""

    def __init__(self, of: Any) -> None:
        self.from_pretrained = functools.partial(of.from_pretrained, trust_remote_code=False)
        if hasattr(of, "from_config"):
            self.from_config = functools.partial(of.from_config, trust_remote_code=False)


@contextmanager
def no_remote_code() -> Iterator[None]:
    """While inside, open_clip's text towers of transformers' are made without the code of their repository; otherwise
    transformers would ask on the terminal whether to run it."""
    from open_clip import hf_model

    before = {name: getattr(hf_model, name) for name in _FACTORIES if hasattr(hf_model, name)}
    for name, of in before.items():
        setattr(hf_model, name, _Refusing(of))
    try:
        yield
    finally:
        for name, of in before.items():
            setattr(hf_model, name, of)
