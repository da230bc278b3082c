"""edgedistill: class names and unlabelled photos in, a small classifier measured on its device out.

    import edgedistill

    verdict = edgedistill.build(profile="cpu", classes="labels.txt", images="photos/", out="labels-cpu")
    verdict = edgedistill.verify("labels-cpu")
    found = edgedistill.Classifier("labels-cpu").predict("part.jpg")

The public surface is `__all__`, and everything else may change. Each name is loaded when it is first used: importing
the package loads neither numpy nor onnxruntime nor torch, and only `build` and `synthesize` ever need torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .api import build, synthesize, verify
    from .errors import EdgeDistillError, InputError
    from .runtime import BadImageError, Classifier, Prediction
    from .verdict.verdict import Verdict

__version__ = "0.1.0"
__all__ = [
    "BadImageError",
    "Classifier",
    "EdgeDistillError",
    "InputError",
    "Prediction",
    "Verdict",
    "__version__",
    "build",
    "synthesize",
    "verify",
]

_HOME = {
    "BadImageError": "runtime",
    "Classifier": "runtime",
    "EdgeDistillError": "errors",
    "InputError": "errors",
    "Prediction": "runtime",
    "Verdict": "verdict.verdict",
    "build": "api",
    "synthesize": "api",
    "verify": "api",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f".{_HOME[name]}", __name__), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
