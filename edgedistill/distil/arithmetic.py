"""Where a student trains and in which numbers: the device, the dtype, the memory format, what repeats to the bit."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch

from ..errors import InputError
from ..work import dtype_trial
from .student import Student


def choose_device(train_on: str) -> torch.device:
    """`auto` takes a GPU if torch has one. Raises InputError if cuda was asked for and is not there."""
    if train_on == "cpu" or (train_on == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        build = f"a build for CUDA {torch.version.cuda}" if torch.version.cuda else "a CPU build"
        raise InputError(
            f"--train-on cuda, but torch {torch.__version__} ({build}) finds no GPU",
            "Install a CUDA build of torch and check nvidia-smi, or use --train-on cpu.",
        )
    return torch.device("cuda")


def choose_dtype(
    student: Student, size: int, batch: int, device: torch.device
) -> tuple[Literal["float32", "bfloat16"], str]:
    """("float32" | "bfloat16", why). bf16 on a GPU that has it; on a CPU whichever trains faster, by a short trial.

    There the answer depends on the network as much as on the processor: ResNets gain two- to threefold, MobileNets
    lose. Leaves the student as it was.
    """
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bfloat16", f"{torch.cuda.get_device_name(device)} computes in bfloat16"
        return "float32", f"{torch.cuda.get_device_name(device)} has no bfloat16"
    if not (torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()):
        return "float32", "this processor has no bfloat16 instructions"
    trial = placed(student, device).train()
    images = torch.zeros(min(batch, 32), size, size, 3, dtype=torch.uint8)

    def step(dtype: str) -> None:
        with autocast(device, dtype):
            h = trial(images)[1]
        h.float().square().mean().backward()
        trial.zero_grad(set_to_none=True)

    return dtype_trial.choose_dtype(lambda: step("float32"), lambda: step("bfloat16"))


def placed(student: Student, device: torch.device) -> Student:
    """A trainable copy on `device`, its convolutions in channels-last memory: faster on CPUs and GPUs alike."""
    placed = copy.deepcopy(student).requires_grad_(True).to(device)
    for parameter in placed.parameters():
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    return placed


def autocast(device: torch.device, dtype: str) -> torch.autocast:
    """The context of the student's forward pass: bfloat16 arithmetic where `dtype` says so, else none of its own."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=dtype == "bfloat16")


@contextmanager
def reproducible(device: torch.device, threads: int | None) -> Iterator[None]:
    """On a CPU: deterministic algorithms and a fixed number of threads. On a GPU: convolutions by rule of thumb.

    cuDNN's search for the fastest ones takes up to a minute, which a training of some minutes never gets back.
    """
    before = torch.get_num_threads()
    deterministic = torch.are_deterministic_algorithms_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    benchmark = torch.backends.cudnn.benchmark
    try:
        if threads:
            torch.set_num_threads(threads)
        if device.type == "cpu":
            torch.use_deterministic_algorithms(True, warn_only=True)
            torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        else:
            torch.backends.cudnn.benchmark = False
        yield
    finally:
        torch.set_num_threads(before)
        torch.use_deterministic_algorithms(deterministic)
        torch.utils.deterministic.fill_uninitialized_memory = fill  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = benchmark
