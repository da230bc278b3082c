"""A GPU that failed is told in two lines; an error of any other kind is left as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from edgedistill.errors import InputError
from edgedistill.work.gpu import gpu_errors_explained

ADVICE = (
    "\nSearch for `cudaErrorIllegalAddress' in https://docs.nvidia.com for more information."
    "\nCompile with `TORCH_USE_CUDA_DSA` to enable device-side assertions.\n"
)
FULL = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 79.18 GiB of which 3.20 GiB is "
    "free. Process 7 has 75.98 GiB memory in use. Of the allocated memory 74.01 GiB is allocated by PyTorch."
)


def told(error: Exception) -> InputError:
    with pytest.raises(InputError) as caught, gpu_errors_explained():
        raise error
    assert caught.value.__cause__ is error
    return caught.value


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: an illegal memory access was encountered",
        "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasGemmEx(handle, opa, opb)`",
        "CUDA driver error: unknown error",
        "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
    ],
)
def test_a_lost_gpu_is_named_and_the_build_can_go_on(message: str) -> None:
    for kind in (RuntimeError, torch.AcceleratorError):
        error = told(kind(message + ADVICE))
        assert error.wrong == f"the GPU failed: {message}"
        assert "nvidia-smi" in error.todo
        assert "run the same command again" in error.todo


def test_full_memory_names_what_was_asked_and_what_is_there() -> None:
    error = told(torch.OutOfMemoryError(FULL))
    assert error.wrong == (
        "the GPU's memory is full: CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of "
        "79.18 GiB of which 3.20 GiB is free"
    )
    assert "--batch" in error.todo


@pytest.mark.parametrize(
    "message",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        'NVML_SUCCESS == r INTERNAL ASSERT FAILED at "/pytorch/c10/cuda/CUDACachingAllocator.cpp":1165',
    ],
)
def test_memory_that_the_libraries_lack_is_memory_too(message: str) -> None:
    assert told(RuntimeError(message + ADVICE)).wrong == f"the GPU's memory is full: {message}"


def test_a_gpu_that_torch_was_not_built_for_has_its_own_remedy() -> None:
    error = told(torch.AcceleratorError("CUDA error: no kernel image is available for execution on the device"))
    assert "Install a build of torch" in error.todo


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 2x3)"),
        torch.AcceleratorError("CUDA error: device-side assert triggered" + ADVICE),
        ValueError("CUDA error: not from torch"),
        KeyboardInterrupt(),
    ],
    ids=["shapes", "assert", "another type", "interrupt"],
)
def test_what_is_not_the_gpus_fault_passes_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, gpu_errors_explained():
        raise error
    assert caught.value is error


def test_an_input_error_from_within_is_not_wrapped() -> None:
    with pytest.raises(InputError, match="no photos") as caught, gpu_errors_explained():
        raise InputError("no photos", "Add some.")
    assert caught.value.__cause__ is None


def test_torch_is_not_loaded_for_it() -> None:
    program = "import sys, edgedistill.work.gpu; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
