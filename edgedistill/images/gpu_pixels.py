"""A cache's pixels where a GPU can cut views from them: all on the GPU where they fit, else page by page.

A page is what one batch needs. In the paged form it holds the pixels of the batch's boxes and nothing else, and is on
its way to the GPU, on a stream of its own, while the batch before it is worked on. Both forms give the same bytes. On
a CPU they work as well, without streams or pinned memory.
"""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .crops import cut, mix, spare
from .cuts import Cuts
from .mixes import Blends
from .packing import host_memory, pack
from .pixels import PixelCache

_SLICE_BYTES = 64 << 20


@dataclass(frozen=True, eq=False)
class Page:
    """Pixels on the device and the boxes of one batch in them; `arrived` is there where they are still on their way.

    Behind the boxes of the batch's crops stand those of the partners of its `blends`.
    """

    pixels: Tensor
    cuts: Cuts
    blends: Blends | None
    arrived: torch.cuda.Event | None = None


class GpuPixels:
    """The pixels of a PixelCache for `device`. `page` and `crops` may be called by different threads."""

    def __init__(self, cache: PixelCache, device: torch.device, whole: Tensor | None) -> None:
        self._cache = cache
        self._device = device
        self._whole = whole
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" and whole is None else None

    @classmethod
    def of(cls, cache: PixelCache, device: torch.device, room: int) -> GpuPixels:
        """All pixels are copied to `device` now if they take at most `room` bytes of it, else page by page."""
        fits = len(cache.flat) + spare(cache.widest) <= room
        return cls(cache, device, _copied(cache, device) if fits else None)

    @property
    def paged(self) -> bool:
        """Whether each page brings its own pixels."""
        return self._whole is None

    def page(self, rows: np.ndarray, views: np.ndarray, threads: Executor | None = None) -> Page:
        """The host's part of `crops`: view `views[k]` of image `rows[k]`, whole numbers [n]. Waits for no GPU.

        `threads` share the packing; the result does not depend on them.
        """
        blends = self._cache.blends(rows, views)
        if blends is not None:
            rows, views = np.append(rows, blends.partner), np.append(views, views[blends.which])
        if self._whole is not None:
            return Page(self._whole, self._cache.cuts(rows, views), blends)
        boxes = self._cache.boxes(rows, views)
        parts = [
            self._cache.image(row)[top:bottom, left:right]
            for row, (left, top, right, bottom) in zip(rows, boxes.corners.tolist(), strict=True)
        ]
        packed = pack(parts, self._device, threads)
        if self._stream is None:
            return Page(packed.to(self._device).pixels, packed.whole(boxes.flip), blends)
        with torch.cuda.stream(self._stream):
            return Page(packed.to(self._device).pixels, packed.whole(boxes.flip), blends, self._stream.record_event())

    def crops(self, page: Page, size: int) -> Tensor:
        """uint8 [n, size, size, 3] on the device, queued on the current stream, which waits for the page's pixels."""
        if page.arrived is not None:
            current = torch.cuda.current_stream(self._device)
            current.wait_event(page.arrived)
            page.pixels.record_stream(current)  # they belong to the other stream: not to be reused before this one ends
        found = cut(page.pixels, page.cuts, size)
        return found if page.blends is None else mix(found, page.blends)


def _copied(cache: PixelCache, device: torch.device) -> Tensor:
    """The cache's pixels and their spare bytes on `device`, slice by slice: the file may be larger than memory."""
    total = len(cache.flat)
    whole = torch.empty(total + spare(cache.widest), dtype=torch.uint8, device=device)
    for start in range(0, total, _SLICE_BYTES):
        part = cache.flat[start : start + _SLICE_BYTES]
        memory = host_memory(len(part), device)
        memory.numpy()[...] = part
        whole[start : start + len(part)].copy_(memory, non_blocking=True)
    if device.type == "cuda":
        torch.cuda.synchronize(device)  # crops may be cut by another stream than this one
    return whole
