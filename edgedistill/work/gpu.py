"""What torch raises when the GPU fails, as two lines for the person in front of it.

Known by the message alone, so torch is not imported. And nothing here asks the GPU: after a failed kernel every
further CUDA call of the process fails as well.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..errors import InputError

# How torch begins the message of a failed call: to the runtime or cuBLAS, to the driver, to cuDNN, to cuDNN's search
# for a kernel, and to its own allocator, which asks NVML how much memory other programs hold.
_BEGINNINGS = (
    "CUDA error: ",
    "CUDA driver error: ",
    "cuDNN error: ",
    "GET was unable to find an engine",
    "CUDA out of memory",
    "NVML_SUCCESS == ",
)
_NO_MEMORY = ("out of memory", "ALLOC_FAILED", "ALLOCATION_FAILED", "CUDACachingAllocator")
_ASSERTED = "device-side assert triggered"  # an index that is too large or the like: a bug of ours, not the GPU's
_NO_KERNEL = "no kernel image"


@contextlib.contextmanager
def gpu_errors_explained() -> Iterator[None]:
    """Raises InputError in place of torch's RuntimeError (AcceleratorError and OutOfMemoryError are kinds of it) where
    the GPU or its driver failed or its memory was full; torch's own stays as the cause. Other errors pass."""
    try:
        yield
    except RuntimeError as error:
        explanation = explained(str(error))
        if explanation is None:
            raise
        raise explanation from error


def explained(message: str) -> InputError | None:
    """Two lines for a message of torch, None where it is not about a GPU that failed."""
    said = _first_words(message)
    if not said.startswith(_BEGINNINGS) or _ASSERTED in said:
        return None
    if any(sign in said for sign in _NO_MEMORY):
        return InputError(
            f"the GPU's memory is full: {said}",
            "Close other programs on the GPU (nvidia-smi lists them) or lower --batch, then run it again: what is "
            "finished stays.",
        )
    if _NO_KERNEL in said:
        return InputError(
            f"torch cannot compute on this GPU: {said}",
            "Install a build of torch that was made for it (pytorch.org), or use --train-on cpu.",
        )
    return InputError(
        f"the GPU failed: {said}",
        "See what nvidia-smi says, then run the same command again: it goes on where it was.",
    )


def _first_words(message: str) -> str:
    """The first line of a message, and of that three sentences at most: torch adds a page of advice."""
    return ". ".join(message.partition("\n")[0].split(". ")[:3]).rstrip(". ")
