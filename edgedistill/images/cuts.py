"""Where boxes lie in a buffer of pixels: what `crops.cut` has to know of them. No torch: the host's side of a crop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .views import Boxes


@dataclass(frozen=True, eq=False)
class Cuts:
    """n boxes in one flat buffer of RGB bytes.

    start   int64 [n]: byte of the box's first pixel
    stride  int64 [n]: bytes from one row of pixels to the next
    width   int64 [n]: of the box, in pixels
    height  int64 [n]: of the box, in pixels
    flip    bool [n]: mirrored left to right
    """

    start: np.ndarray
    stride: np.ndarray
    width: np.ndarray
    height: np.ndarray
    flip: np.ndarray

    @classmethod
    def of(cls, boxes: Boxes, starts: np.ndarray, widths: np.ndarray) -> Cuts:
        """Box k of an image that starts at byte `starts[k]` and is `widths[k]` pixels wide."""
        left, top, right, bottom = boxes.corners.T
        stride = 3 * widths.astype(np.int64)
        start = starts.astype(np.int64) + top * stride + 3 * left
        return cls(start, stride, right - left, bottom - top, boxes.flip)

    def __len__(self) -> int:
        return len(self.start)

    def part(self, first: int, last: int) -> Cuts:
        """Boxes `first` to `last`, the last one not included."""
        return Cuts(*(column[first:last] for column in vars(self).values()))
