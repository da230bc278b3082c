"""The golden set: a few check images with the answers that are right. Does an engine give them here?"""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import TargetError
from .manifest import REBUILD, Manifest


def compare_golden(manifest: Manifest, precision: str, session: Any) -> dict[str, Any]:
    """Probabilities of the golden pixels against the workshop's fp32 ones, and pixels of the golden files likewise.

    The files are decoded only where Pillow is installed: pixels_max_diff is None without it. An output that is not
    finite counts as a difference of 1, the most that two probabilities can differ by.
    """
    path = manifest.file("golden.npz")
    try:
        with np.load(path, allow_pickle=False) as stored:
            golden = {key: stored[key] for key in ("bytes", "offsets", "pixels", "probabilities")}
    except (OSError, ValueError, KeyError) as error:
        raise TargetError(f"cannot read {path}: {error}", REBUILD) from error
    probabilities = session.run(golden["pixels"]).probabilities
    wanted = golden["probabilities"]
    if probabilities.shape != wanted.shape:
        raise TargetError(f"{path} holds {wanted.shape} probabilities, not {probabilities.shape}", REBUILD)
    difference = float(np.nan_to_num(np.abs(probabilities - wanted), nan=1.0, posinf=1.0).max())
    tolerance = manifest.model(precision)["golden_tolerance"]
    pixels = _golden_pixels_difference(golden, manifest.size)
    return {
        "max_abs_diff": difference,
        "tolerance": tolerance,
        "ok": difference <= tolerance and (pixels is None or pixels <= manifest.golden_pixel_tolerance),
        "pixels_max_diff": pixels,
    }


def _golden_pixels_difference(golden: dict[str, np.ndarray], size: int) -> int | None:
    """The largest difference between golden pixels and the golden files resized here; 255 when one is not read."""
    from .preprocess import BadImage, decode, to_pixels

    largest = 0
    for index, wanted in enumerate(golden["pixels"]):
        start, end = golden["offsets"][index : index + 2]
        try:
            pixels = to_pixels(decode(golden["bytes"][start:end].tobytes()), size)
        except ImportError:
            return None
        except BadImage:
            return 255
        largest = max(largest, int(np.abs(pixels.astype(np.int16) - wanted).max()))
    return largest
