"""Images of any sizes, packed one after another into one buffer, so that they reach a GPU in one copy."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from .crops import spare
from .cuts import Cuts
from .sharing import share
from .views import Boxes


@dataclass(frozen=True, eq=False)
class Packed:
    """n images in one buffer that `crops.cut` can read.

    pixels   uint8 [bytes]: RGB, one image after another, then `spare` bytes
    starts   int64 [n]: an image's first byte
    widths   int64 [n], in pixels
    heights  int64 [n], in pixels
    """

    pixels: Tensor
    starts: np.ndarray
    widths: np.ndarray
    heights: np.ndarray

    def to(self, device: torch.device) -> Packed:
        """The same on `device`; the copy is queued on the current stream and the host does not wait for it."""
        return replace(self, pixels=self.pixels.to(device, non_blocking=True))

    def cuts(self, which: np.ndarray, boxes: Boxes) -> Cuts:
        """Box k of image `which[k]`, for `crops.cut`."""
        return Cuts.of(boxes, self.starts[which], self.widths[which])

    def whole(self, flip: np.ndarray) -> Cuts:
        """Each image whole, mirrored where `flip` (bool [n]) says so, for `crops.cut`."""
        return Cuts(self.starts, 3 * self.widths, self.widths, self.heights, flip)


def pack(images: Sequence[np.ndarray], device: torch.device, threads: Executor | None = None) -> Packed:
    """Images, uint8 [h, w, 3] each, or parts of images, packed in memory that `device` can fetch from by itself.

    They stay on the host: `.to(device)` sends them on. `threads` share the work. So views 1 to V - 1 of a batch of
    decoded images are made on a GPU, with image `which[k]` and view `views[k]` for crop k:

        packed = pack(images, device).to(device)
        boxes = view_boxes(seed, hashes[which], views, packed.widths[which], packed.heights[which])
        crops = cut(packed.pixels, packed.cuts(which, boxes), size)
    """
    heights, widths = np.array([image.shape[:2] for image in images], np.int64).reshape(-1, 2).T
    ends = np.cumsum(3 * heights * widths)
    starts = ends - 3 * heights * widths
    pixels = host_memory(int(ends[-1:].sum()) + spare(int(widths.max(initial=0))), device)
    flat = pixels.numpy()

    def fill(part: range) -> None:
        for k in part:
            flat[starts[k] : ends[k]].reshape(images[k].shape)[...] = images[k]

    share(fill, len(images), threads)
    return Packed(pixels, starts, widths, heights)


def host_memory(size: int, device: torch.device) -> Tensor:
    """uint8 [size], not filled: memory of the host that `device` can fetch from by itself, pinned for a GPU.

    torch keeps pinned memory for the next request, and gives it out again only when copies out of it have ended.
    """
    return torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
