"""The runtimes, precisions and levels of optimisation that a profile, a flag or a file of ours may name, once.

It imports nothing heavy. Every runtime here can be opened (runtimes.py), and every precision built.
"""

from __future__ import annotations

from typing import Literal, get_args

RuntimeName = Literal[
    "onnxruntime-cpu",
    "onnxruntime-openvino",
    "onnxruntime-cuda",
    "onnxruntime-tensorrt",
    "onnxruntime-tensorrt-rtx",
    "tensorrt",
    "torch-tensorrt",
]
RUNTIMES: tuple[str, ...] = get_args(RuntimeName)
CPU, OPENVINO, CUDA, ORT_TENSORRT, ORT_TENSORRT_RTX, TENSORRT, TORCH_TENSORRT = RUNTIMES
ON_CPU = (CPU, OPENVINO)

PrecisionName = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[str, ...] = get_args(PrecisionName)

OptimisationName = Literal["all", "extended", "basic", "off"]
OPTIMISATIONS: tuple[str, ...] = get_args(OptimisationName)


def on_gpu(runtime: str) -> bool:
    """Whether a runtime computes on an NVIDIA GPU; every other one computes on the processor."""
    return runtime not in ON_CPU
