"""Which runtimes work here. Each package is imported in a process of its own first: a broken one may end its process.

onnxruntime 1.21.0 did on a Raspberry Pi 4, by SIGILL (its issue 23957); a wheel for another numpy or a missing library
ends in an exception of any kind. After that the import is safe, and the rest is asked in this process.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys

from . import runtimes
from .errors import TargetError, last_line
from .lifeline import AMONG_ITS_OWN, bound
from .names import RUNTIMES, TENSORRT, TORCH_TENSORRT

TIMEOUT_S = 120  # a first load from a slow disk
_PROGRAM = "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[1]); importlib.import_module(sys.argv[2])"


def ask_all(broken: dict[str, TargetError] | None = None) -> dict[str, TargetError | None]:
    """Runtime -> why it cannot be used here, None where it can. broken: what `broken_imports` found, if asked."""
    known = broken_imports() if broken is None else broken
    return {name: known.get(module_of(name)) or _problem(name) for name in RUNTIMES}


def broken_imports() -> dict[str, TargetError]:
    """Module -> why importing it fails, for those of the runtimes' that are here and do not load."""
    asked = {module: import_problem(module) for module in dict.fromkeys(map(module_of, RUNTIMES))}
    return {module: error for module, error in asked.items() if error is not None}


def _problem(runtime: str) -> TargetError | None:
    """As runtimes.problem, but that torch, which takes seconds to load, was loaded by the other process alone."""
    if runtime == TORCH_TENSORRT and importlib.util.find_spec(module_of(runtime)) is not None:
        return runtimes.lack_of_gpu(runtime)
    return runtimes.problem(runtime)


def module_of(runtime: str) -> str:
    """What Python imports for it."""
    return {TENSORRT: "tensorrt", TORCH_TENSORRT: "torch_tensorrt"}.get(runtime, "onnxruntime")


def import_problem(module: str) -> TargetError | None:
    """Why importing `module` fails in a fresh process that looks where this one does; None where it works, or where
    there is no such module, which this process can find out for itself."""
    if importlib.util.find_spec(module) is None:
        return None
    command = bound([sys.executable, "-c", _PROGRAM, json.dumps(sys.path), module])
    try:
        ran = subprocess.run(
            command,
            cwd=AMONG_ITS_OWN,  # the program looks in the working folder first
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return TargetError(f"import {module} did not end within {TIMEOUT_S} s", "Install it again.")
    if ran.returncode == 0:
        return None
    if ran.returncode < 0:
        return TargetError(f"import {module} ends its process by {_signal(-ran.returncode)}", _remedy(module))
    last = last_line(ran.stderr, f"exit code {ran.returncode}")
    return TargetError(f"{module} cannot be imported: {last}", _remedy(module))


def _remedy(module: str) -> str:
    if module == "onnxruntime":
        return (
            "Install another version: pip install onnxruntime==1.20.1, or 1.22 and later "
            "(1.21.0 does not start on a Raspberry Pi 4)."
        )
    return "Install it again, for this processor, Python and driver."


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
