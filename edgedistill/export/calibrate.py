"""Which range of numbers each tensor of a graph takes, seen on photos of the pool: what int8 steps are made from.

onnxruntime's own calibrators do the work (onnxruntime.quantization, `create_calibrator`). The photos are a seeded
sample of those that trained: a check image that had a say in a range would no longer be one.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, TensorsData, create_calibrator

if TYPE_CHECKING:
    from ..teacher.store import TeacherStore

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "percentile": CalibrationMethod.Percentile,
    "entropy": CalibrationMethod.Entropy,
}
"""How a range is found: all that was seen, all but the outermost of it, or where the least information is lost."""

PERCENTILE = 99.99  # of a tensor's values; onnxruntime's own 99.999 hardly cuts anything from 128 photos
CALIBRATING, JUDGING = 128, 256  # photos at most


@dataclass(frozen=True, eq=False)
class Photos:
    """Photos of the pool, uint8 [K,S,S,3], that ranges are made from, and others, uint8 [J,S,S,3], on which the choices
    of the export are compared with fp32. `seed` drew them."""

    calibrating: np.ndarray
    judging: np.ndarray
    seed: int

    @classmethod
    def of(cls, store: TeacherStore, rows: np.ndarray, size: int, seed: int) -> Photos:
        """The centre views, at the student's size, of a sample of these rows of a store of the pool."""
        calibrating, judging = (
            store.pixels.crops(part, np.zeros_like(part), size).numpy() for part in drawn(rows, seed)
        )
        return cls(calibrating, judging, seed)


def drawn(rows: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(calibrating, judging): at most 128 and 256 of these rows, int64, none in both; a third of a small pool are the
    first. The same for the same rows and seed, whatever the rows' order."""
    shuffled = np.random.default_rng([seed, len(rows)]).permutation(np.sort(rows))
    first = min(CALIBRATING, max(1, len(rows) // 3))
    return np.sort(shuffled[:first]), np.sort(shuffled[first : first + JUDGING])


def ranges(graph: Path, images: np.ndarray, operators: Sequence[str], method: str, *, symmetric: bool) -> TensorsData:
    """The range of every input and output of these operators over `images` (uint8 [K,S,S,3]), one image at a time.

    symmetric: around zero.
    """
    options: dict[str, Any] = {"symmetric": symmetric}
    if method == "percentile":
        options["percentile"] = PERCENTILE
    beside = tempfile.TemporaryDirectory(dir=graph.parent)
    with beside as scratch, contextlib.redirect_stdout(io.StringIO()):  # calibrators print
        calibrator = create_calibrator(
            graph,
            list(operators),
            augmented_model_path=str(Path(scratch) / "augmented.onnx"),
            calibrate_method=METHODS[method],
            extra_options=options,
        )
        for image in images:  # one by one: a histogram calibrator keeps every tensor of all it is given at once
            calibrator.collect_data(_One(image))
        return calibrator.compute_data()


class _One(CalibrationDataReader):
    """One image, once, as onnxruntime's calibrators read."""

    def __init__(self, image: np.ndarray) -> None:
        self._feeds = iter([{"image": image[None]}])

    def get_next(self) -> dict[str, np.ndarray] | None:  # type: ignore[override]  # None ends it, as documented
        return next(self._feeds, None)
