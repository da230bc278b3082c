"""Which runtimes work here. Each package is imported in a process of its own first: a broken one may end its process.

onnxruntime 1.21.0 did on a Raspberry Pi 4, by SIGILL (its issue 23957); a wheel for another numpy or a missing library
ends in an exception of any kind. After that the import is safe, and the rest is asked in this process. What is left is
started in one more process: onnxruntime-gpu without cuDNN and a TensorRT without CUDA can both be imported.
"""

from __future__ import annotations

import importlib.util
import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from . import ort, outside, runtimes
from .error_lines import last_line
from .errors import TargetError
from .lifeline import AMONG_ITS_OWN, bound
from .names import ORT_TENSORRT, ORT_TENSORRT_RTX, RUNTIMES, TENSORRT, TORCH_TENSORRT, on_gpu
from .printable import say_json
from .providers import turn_telemetry_off
from .trt_module import load_tensorrt, new_logger, new_runtime

TIMEOUT_S = 120  # a first load from a slow disk
_PROGRAM = "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[1]); importlib.import_module(sys.argv[2])"
_START = f"{_PROGRAM}.tell_start(sys.argv[3])"
# ONNX files, made with onnx.helper: y = Conv(x, 2) of float32 [1,1,1,1], and float32 [1] that goes out as it came in.
_SHAPE = b"\x12\x16\n\x14\x08\x01\x12\x10" + 4 * b"\n\x02\x08\x01"
_CONVOLUTION = (
    b'\x08\x08\x12\x00:c\n\x0f\n\x01x\n\x01w\x12\x01y"\x04Conv\x12\x01g*\x13' + 4 * b"\x08\x01" + b"\x10\x01"
    b'"\x04\x00\x00\x00@B\x01wZ\x1b\n\x01x' + _SHAPE + b"b\x1b\n\x01y" + _SHAPE + b"B\x04\n\x00\x10\r"
)
_NOTHING = (
    b"\x08\x08\x12\x00:%\x12\x01gZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01"
    b"b\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\r"
)


def ask_all(broken: dict[str, TargetError] | None = None) -> dict[str, TargetError | None]:
    """Runtime -> why it cannot be used here, None where it can. broken: what `broken_imports` found, if asked."""
    known = broken_imports() if broken is None else broken
    return {name: known.get(module_of(name)) or _problem(name) or start_problem(name) for name in RUNTIMES}


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
    ran = _run(_PROGRAM, module)
    if ran is None:
        return TargetError(f"import {module} did not end within {TIMEOUT_S} s", "Install it again.")
    if ran.returncode == 0:
        return None
    if ran.returncode < 0:
        return TargetError(f"import {module} ends its process by {_signal(-ran.returncode)}", _remedy(module))
    return TargetError(f"{module} cannot be imported: {_last_words(ran)}", _remedy(module))


def start_problem(runtime: str) -> TargetError | None:
    """Why a runtime that can be imported does not start in a fresh process; None where it does. torch-tensorrt is not
    asked: its import alone takes seconds, and asks for CUDA itself."""
    if runtime == TORCH_TENSORRT:
        return None
    todo = _remedy(module_of(runtime))
    if on_gpu(runtime):
        todo = "Install what it was built for, CUDA, cuDNN or TensorRT: nvidia-smi says which CUDA the driver knows."
    ran = _run(_START, __name__, runtime)
    if ran is None:
        return TargetError(f"{runtime} did not start within {TIMEOUT_S} s", todo)
    if ran.returncode < 0:
        return TargetError(f"{runtime} ends its process by {_signal(-ran.returncode)}", todo)
    if ran.returncode > 0:
        return TargetError(f"{runtime} does not start: {_last_words(ran)}", todo)
    told = [line for line in ran.stdout.splitlines() if line.startswith('["')]  # a library may print, too
    return TargetError(*outside.parse_json(told[-1].encode())) if told else None


def tell_start(runtime: str) -> None:
    """In the other process: start it, and print the error's two lines where it does not."""
    try:
        start(runtime)
    except TargetError as error:
        say_json([error.wrong, error.todo])


def start(runtime: str) -> None:
    """Take this runtime as far as its libraries and its device are needed: a convolution, or TensorRT's Runtime. Under
    onnxruntime's TensorRT a session of an empty graph: an engine, even of one layer, takes seconds to build. Raises
    TargetError."""
    if runtime == TENSORRT:
        trt = load_tensorrt()
        logger = new_logger(trt)
        new_runtime(trt, logger)
        return
    empty = runtime in (ORT_TENSORRT, ORT_TENSORRT_RTX)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "tiny.onnx"
        model.write_bytes(_NOTHING if empty else _CONVOLUTION)
        graph = ort.Graph(model, threads=1, provider=runtime)
        try:
            if not empty:
                graph.run({"x": np.ones((1, 1, 1, 1), np.float32)})
        finally:
            graph.close()


def _run(program: str, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    """A program of Python's that looks for modules where this one does; None where it takes too long."""
    turn_telemetry_off()
    command = bound([sys.executable, "-c", program, json.dumps(sys.path), *arguments])
    try:
        return subprocess.run(
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
        return None


def _last_words(ran: subprocess.CompletedProcess[str]) -> str:
    return last_line(ran.stderr, f"exit code {ran.returncode}")


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
