"""What every runtime's Session gives back.

A Session has four methods: run(images) -> Outputs, warm_up(seconds), describe() -> dict, close(). There is one a
runtime (`ort.py`, `trt.py`). Each knows how to answer one call of as many images as its graph takes; how any number of
images becomes such calls stands here.
"""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import NamedTuple

import numpy as np

from .errors import TargetError

INPUT = "image"
OUTPUTS = ("probabilities", "embedding", "known")
MAX_BATCH = 64  # of a graph with a dynamic batch


class Outputs(NamedTuple):
    """probabilities float32 [N,C], rows sum to 1; embedding float32 [N,D], unit norm; known float32 [N]: the
    largest probability, 0..1, no test for foreign objects."""

    probabilities: np.ndarray
    embedding: np.ndarray
    known: np.ndarray


def check_images(images: np.ndarray, size: int) -> None:
    """TargetError unless `images` is uint8 [N, size, size, 3]."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3):
        raise TargetError(
            f"the model takes uint8 [N, {size}, {size}, 3], not {images.dtype} {list(images.shape)}",
            "Make the pixels with to_pixels (targets/preprocess.py) at this size.",
        )


def check_answers(found: Outputs, count: int, classes: int | None = None, width: int | None = None) -> None:
    """TargetError unless these are the outputs of `count` images, of so many classes and numbers in an embedding."""
    shapes = [array.shape for array in found]
    one, two, three = shapes
    sound = len(one) == len(two) == 2 and len(three) == 1 and all(shape[0] == count for shape in shapes)
    if not sound or one[1] != (classes or one[1]) or two[1] != (width or two[1]) or 0 in (one[1], two[1]):
        wanted = f"[{count}, {classes or 'C'}], [{count}, {width or 'D'}], [{count}]"
        raise TargetError(
            f"the model answers {count} images with {', '.join(map(str, map(list, shapes)))} as {', '.join(OUTPUTS)}, "
            f"not {wanted}",
            "Build the bundle again, or copy it again from where it was built.",
        )


def check_finite(found: Outputs) -> None:
    """TargetError where an answer is not a number: no class is the most probable then."""
    if not all(np.isfinite(array).all() for array in found):
        raise TargetError(
            "the model answers with NaN or infinity instead of numbers",
            "Name another precision or runtime; `verify` tells which of them answer rightly here.",
        )


def run_in_batches(images: np.ndarray, batch: int | None, call: Callable[[np.ndarray], Outputs]) -> Outputs:
    """The outputs for any number of images >= 1, in their order, by calls of as many as the graph takes.

    batch: exactly so many a call, the last call filled up with its last image; None: any number up to 64.
    """
    count, step = len(images), batch or MAX_BATCH
    if count == step or (batch is None and count < step):
        return call(images)
    if batch is not None and count % batch:
        images = np.concatenate([images, np.repeat(images[-1:], batch - count % batch, axis=0)])
    parts = [call(images[start : start + step]) for start in range(0, len(images), step)]
    return Outputs(*(np.concatenate(arrays)[:count] for arrays in zip(*parts)))


def keep_busy(size: int, batch: int | None, call: Callable[[np.ndarray], Outputs], seconds: float) -> None:
    """Call on black images of that size for `seconds`, at least three times: a session's warm-up."""
    images = np.zeros((batch or 1, size, size, 3), np.uint8)
    repeat(lambda: call(images), seconds)


def repeat(call: Callable[[], object], seconds: float) -> None:
    """Call for `seconds`, at least three times."""
    start, calls = perf_counter(), 0
    while calls < 3 or perf_counter() - start < seconds:
        call()
        calls += 1
