"""How a teacher's image tower is run, by short trials on the machine at hand: in which numbers, in how large batches.

Both answers are timed choices: whoever asks records them, so that a resumed build does the same.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from ..work import dtype_trial

if TYPE_CHECKING:
    import torch

DTYPE_IMAGES = {"cpu": 8, "cuda": 256}
"""A GPU with eight images waits for Python, whatever they are computed in: there the trial fills it."""

SAME = 0.999  # lowest cosine with the float32 features
ALIKE = 1.05  # two half precisions whose times are within this are as fast as one another
BATCHES = (64, 128, 256, 512, 1024)
NEARLY_BEST = 0.97


def choose_dtype(tower: torch.nn.Module, images: torch.Tensor, device: torch.device) -> tuple[str, str]:
    """(float32, bfloat16 or float16; why): the fastest in which the features of these images are the same.

    "The same" is a cosine of at least SAME with the float32 features for every image, which NaN never is. A half
    precision has to be LEAST_GAIN times as fast as float32; of two that are as fast as one another the closer one is
    taken. float16 is tried on a GPU alone, where it computes as fast as bfloat16, is there on older GPUs, and keeps
    three bits more. float32 is what torch takes for it: without TF32, unless the calling program allows that.
    Where the GPU has not enough memory, half the images are tried. `tower` stays as it was.
    """
    import torch

    while True:
        try:
            return _choose_dtype(tower, images, device)
        except torch.OutOfMemoryError:
            if len(images) <= DTYPE_IMAGES["cpu"]:
                raise
        images = images[: len(images) // 2]


def _choose_dtype(tower: torch.nn.Module, images: torch.Tensor, device: torch.device) -> tuple[str, str]:
    import torch
    from torch.nn import functional

    features: dict[str, torch.Tensor] = {}

    def runs(name: str) -> Callable[[], None]:
        dtype = getattr(torch, name)
        own, batch = copy.deepcopy(tower).to(dtype), images.to(dtype)

        def run() -> None:
            features[name] = functional.normalize(_first(own(batch)).float(), dim=-1)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return run

    with torch.inference_mode():
        best = dtype_trial.best_seconds({name: runs(name) for name in ("float32", *_half_precisions(device))})
        cosine = {name: float((features["float32"] * found).sum(dim=-1).min()) for name, found in features.items()}
    ratio = {name: best["float32"] / seconds for name, seconds in best.items() if name != "float32"}
    fit = [name for name in ratio if ratio[name] >= dtype_trial.LEAST_GAIN and cosine[name] >= SAME]
    fastest = max((ratio[name] for name in fit), default=0.0)
    closest = max((name for name in fit if ratio[name] * ALIKE >= fastest), key=cosine.__getitem__, default="float32")
    told = ", ".join(
        f"{name} was {times:.2f} times as fast as float32 on {device.type}, lowest cosine {cosine[name]:.4f}"
        for name, times in ratio.items()
    )
    return closest, f"in a short trial {told}"


def _half_precisions(device: torch.device) -> tuple[str, ...]:
    import torch

    if device.type == "cpu":
        return ("bfloat16",)
    return ("bfloat16", "float16") if torch.cuda.is_bf16_supported(including_emulation=False) else ("float16",)


def _first(output: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The pooled feature of a tower: most return it alone, CoCa's a tuple that starts with it."""
    return output[0] if isinstance(output, tuple) else output


def choose_batch(
    run: Callable[[int], object],
    sizes: Sequence[int] = BATCHES,
    *,
    rounds: int = 3,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[int, str]:
    """(the smallest of `sizes` that is nearly as good as the best, why); good is views a second.

    `run(n)` works through n views and waits until the device is done. The best of `rounds` runs counts, after one that
    warms up. The trial ends at the first size that does not fit in the GPU's memory: raises what that raised,
    torch.OutOfMemoryError, where it is the smallest.
    """
    import torch

    speed: dict[int, float] = {}
    for size in sizes:
        try:
            seconds = dtype_trial.best_seconds({"views": partial(run, size)}, rounds=rounds, clock=clock)
        except torch.OutOfMemoryError:
            if not speed:
                raise
            break
        speed[size] = size / seconds["views"]
    best = max(speed.values())
    chosen = next(size for size in speed if speed[size] >= NEARLY_BEST * best)
    told = ", ".join(f"{size}: {views:,.0f}" for size, views in speed.items())
    return chosen, f"views a second by the batch: {told}"
