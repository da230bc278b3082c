"""The runtimes and precisions that a profile, a flag or a file of ours may name, once. It imports nothing heavy.

What can be named is more than what can be made: an entry may wait for the code that builds or runs it.
"""

from __future__ import annotations

from typing import Literal, get_args

RuntimeName = Literal["onnxruntime-cpu", "onnxruntime-cuda", "tensorrt"]
RUNTIMES: tuple[str, ...] = get_args(RuntimeName)
CPU, CUDA, TENSORRT = RUNTIMES

PrecisionName = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[str, ...] = get_args(PrecisionName)
