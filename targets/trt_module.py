"""TensorRT's Python module: imported when it is first needed, with a logger that keeps what went wrong, and what starts
CUDA in it.

Two modules have the same interface: `tensorrt`, on a board, and `tensorrt_rtx`, which parses and builds without a GPU.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

from .errors import TargetError

log = logging.getLogger(__name__)

OLDEST = (10, 3)  # JetPack 6.1's: what is older builds and runs engines by other calls


def load_tensorrt(module: str = "tensorrt") -> Any:
    """The module of that name. TargetError where it cannot be imported or is too old."""
    try:
        found = importlib.import_module(module)
    except (ImportError, OSError) as error:
        raise TargetError(
            f"{module} cannot be imported: {error}",
            "On a Jetson it belongs to JetPack: make the environment with --system-site-packages, and in a container "
            "use one that holds TensorRT. Elsewhere: pip install tensorrt",
        ) from error
    if module == "tensorrt":  # RTX counts for itself
        refuse_older(str(found.__version__))
    return found


def refuse_older(version: str) -> None:
    """TargetError for a TensorRT such as "8.6.1" that is older than any this works with."""
    if tuple(int(part) for part in version.split(".")[:2]) < OLDEST:
        raise TargetError(
            f"TensorRT {version} is too old: {'.'.join(map(str, OLDEST))} is the oldest that works here",
            "On a Jetson install JetPack 6.1 or later; or take --runtime onnxruntime-cuda.",
        )


def new_logger(trt: Any) -> Any:
    """A logger of that module: `said()` is what it called an error, in one line; where it called nothing one, its last
    warning. Warnings go to ours, too.

    TensorRT keeps a bare pointer to it, so whoever hands it over has to keep it as long.
    """

    class Logger(trt.ILogger):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: list[str] = []
            self._warning = ""

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.INTERNAL_ERROR, trt.ILogger.Severity.ERROR):
                self._errors.append(one_line(message))
            elif severity == trt.ILogger.Severity.WARNING:
                self._warning = one_line(message)
                log.warning("TensorRT: %s", self._warning)

        def said(self) -> str:
            return "; ".join(self._errors[-3:]) or self._warning or "it does not say why"

    return Logger()


def new_builder(trt: Any, logger: Any) -> Any:
    """A Builder. TargetError where CUDA does not start."""
    return _started(trt, trt.Builder, logger)


def new_runtime(trt: Any, logger: Any) -> Any:
    """A Runtime. TargetError where CUDA does not start."""
    return _started(trt, trt.Runtime, logger)


def _started(trt: Any, kind: Any, logger: Any) -> Any:
    """Where CUDA does not start, TensorRT makes none of them: its binding then raises a bare TypeError, "factory
    function returned nullptr" (NVIDIA/TensorRT issues 308, 635 and 2913), and the reason is a warning of its logger."""
    try:
        made = kind(logger)
    except TypeError:
        made = None
    if made is None:
        raise TargetError(
            f"TensorRT {trt.__version__} cannot start CUDA: {logger.said()}",
            "The driver may be older than this TensorRT's CUDA, or the memory full: see nvidia-smi.",
        )
    return made


def one_line(message: str) -> str:
    return " ".join(message.split())
