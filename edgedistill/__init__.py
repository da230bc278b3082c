"""edgedistill: class names and unlabelled photos in, a small classifier measured on its device out.

The public surface is this list; importing it loads neither torch nor onnxruntime. Everything else may change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .runtime import Classifier, Prediction

__version__ = "0.1.0"
__all__ = ["Classifier", "Prediction", "__version__"]


def __getattr__(name: str) -> object:
    if name in ("Classifier", "Prediction"):
        from . import runtime

        return getattr(runtime, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
