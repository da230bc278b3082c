"""Makes `import torchvision` work beside a CPU build of torch; whoever needs timm or open_clip comes through here.

PyPI's torchvision wheel is compiled against CUDA torch. Beside a CPU torch its C++ library does not load and the
import stops at `operator torchvision::nms does not exist`, taking timm and open_clip with it, which only want its
Python half (resize, crop, normalise). Declaring the two operators it asks for is enough for that half. Nothing is
declared unless a real import has failed with that very message: a torchvision that matches its torch stays untouched.

    from .torchvision_ops import ensure_torchvision

    ensure_torchvision()
    import timm

torchvision.io and the C++ operators (nms, roi_align, ...) stay unusable where they were; edgedistill uses neither.
"""

from __future__ import annotations

import importlib
import logging
import sys

from ..errors import InputError, install_extra

log = logging.getLogger(__name__)

_MISSING = "operator torchvision::nms does not exist"
_SIGNATURES = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_declared: object = None  # the torch.library.Library: its declarations last only as long as it does


def ensure_torchvision() -> bool:
    """Imports torchvision, declaring its missing operators if that is what it takes.

    Returns True if this process runs on the declarations, False beside a torchvision that works by itself. Raises
    InputError if torch or torchvision is not installed; any other import failure is left as it is.
    """
    global _declared
    if "torchvision" in sys.modules:  # a failed import leaves its submodules behind, never this entry
        return _declared is not None
    try:
        importlib.import_module("torch")
        importlib.import_module("torchvision")
    except ModuleNotFoundError as error:
        if error.name not in ("torch", "torchvision"):
            raise
        raise InputError(
            f"the package {error.name!r} is not installed, and building needs it",
            install_extra("build"),
        ) from error
    except RuntimeError as error:
        if _MISSING not in str(error):
            raise
        import torch

        for name in [name for name in sys.modules if name.startswith("torchvision.")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for signature in _SIGNATURES:
            library.define(signature)
        _declared = library
        importlib.import_module("torchvision")
        log.debug("torchvision's C++ library does not load beside torch %s: declared nms and qnms", torch.__version__)
    return _declared is not None
