"""The teacher's pass on a GPU: views cut there, large batches, the next one on its way while one is worked on.

A batch is some whole images. Their pixels, as they are kept, and their centre views go to the GPU in two copies; views
1 to V - 1 are cut there (images/crops.py), the tower runs, and the features come back when they are asked for. Batches
need not end where blocks do, but where there are mixed views a batch is a block, so that partners are together. So a
store made on a GPU holds what one made on a CPU holds, but for the last digits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..images.crops import cut, mix
from ..images.mixes import Mixing
from ..images.packing import host_memory, pack
from ..images.views import view_boxes
from ..targets.preprocess import BadImage
from . import trials
from .decoding import Prepared
from .shards import Shards

if TYPE_CHECKING:
    from .tower import Teacher

UNDER_WAY = 2
"""Batches that the GPU may have before it while the features of an earlier one are written."""

PendingFeatures = Callable[[], np.ndarray]
"""Waits for the GPU, then gives float32 [n, V, D]. Raises InputError where one is not finite."""


def best_batch(teacher: Teacher) -> tuple[int, str]:
    """(views a batch, why): by a short measurement of the tower alone (trials.choose_batch)."""

    def run(views: int) -> None:
        with torch.inference_mode():
            teacher.model.encode_image(images[:views])
        if teacher.device.type == "cuda":
            torch.cuda.synchronize(teacher.device)

    images = teacher.example_batch(max(trials.BATCHES)).to(teacher.torch_dtype)
    return trials.choose_batch(run, trials.BATCHES)


class GpuEncoder:
    """Runs `teacher` over batches of images in `views` views each, whose crops come from `seed`.

    `mix`: as many mixed views are behind them; then a batch is a block of the store, and goes through the tower in
    parts of at most `part` views.

    Works on a CPU as well, where it waits for everything at once: so it is tested.
    """

    def __init__(self, teacher: Teacher, views: int, seed: int, mix: int = 0, part: int | None = None) -> None:
        self._teacher, self._plain, self._views, self._seed = teacher, views, views + mix, seed
        self._part = part
        self._device = teacher.device
        self._copies = torch.cuda.Stream(self._device) if self._device.type == "cuda" else None

    def start(self, images: Sequence[Prepared], hashes: np.ndarray) -> PendingFeatures:
        """Send a batch on its way. `hashes` uint8 [n, 32]: the images' content."""
        n, size = len(images), self._teacher.image_size
        batch = torch.empty(n, self._views, size, size, 3, dtype=torch.uint8, device=self._device)
        packed = pack([image.pixels for image in images], self._device)
        centre = host_memory(n * size * size * 3, self._device).view(n, size, size, 3)
        np.stack([image.centre for image in images], out=centre.numpy())
        pixels, there = self._sent(packed.pixels, centre)
        batch[:, 0] = there
        which, views = np.repeat(np.arange(n), self._views - 1), np.tile(np.arange(1, self._views), n)
        blends = None
        if self._views > self._plain:
            blends = Mixing.of_blocks(self._plain, [n]).blends(self._seed, hashes[which], which, views)
            which, views = np.append(which, blends.partner), np.append(views, views[blends.which])
        boxes = view_boxes(self._seed, hashes[which], views, packed.widths[which], packed.heights[which])
        crops = cut(pixels, packed.cuts(which, boxes), size)
        if blends is not None:
            crops = mix(crops, blends)
        batch[:, 1:] = crops.view(n, self._views - 1, size, size, 3)
        every = batch.flatten(0, 1)
        parts = [self._teacher.image_features(part) for part in every.split(self._part or len(every))]
        return self._on_their_way(parts[0] if len(parts) == 1 else torch.cat(parts))

    def _sent(self, *tensors: Tensor) -> list[Tensor]:
        """The tensors on the GPU, copied beside what it is doing; what comes next there waits for them."""
        if self._copies is None:
            return list(tensors)
        current = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._copies):
            there = [tensor.to(self._device, non_blocking=True) for tensor in tensors]
        current.wait_stream(self._copies)
        for tensor in there:
            tensor.record_stream(current)
        return there

    def _on_their_way(self, features: Tensor) -> PendingFeatures:
        """Features [n * V, D] start back for the host."""
        on_gpu = self._device.type == "cuda"
        back = torch.empty(features.shape, dtype=features.dtype, pin_memory=on_gpu)
        back.copy_(features, non_blocking=True)
        arrived = torch.cuda.current_stream(self._device).record_event() if on_gpu else None

        def wait() -> np.ndarray:
            if arrived is not None:
                arrived.synchronize()
            found = self._teacher.finite(back.numpy(), "image")
            return found.reshape(-1, self._views, found.shape[-1])

        return wait


@dataclass
class _Group:
    """Consecutive rows of the pool, the good images among them, and why the others are none."""

    rows: list[int] = field(default_factory=list)
    images: list[Prepared] = field(default_factory=list)
    bad: dict[int, str] = field(default_factory=dict)

    def add(self, row: int, image: Prepared | BadImage) -> None:
        self.rows.append(row)
        if isinstance(image, BadImage):
            self.bad[row] = image.reason
        else:
            self.images.append(image)

    @property
    def good(self) -> np.ndarray:
        return np.array([row for row in self.rows if row not in self.bad], np.int64)


class GpuPass:
    """Fills `shards` in blocks of `block` rows of a pool with these `hashes`; `done(images)` is told after each batch,
    `block_done()` after each block. A thread writes while the GPU works."""

    def __init__(
        self,
        shards: Shards,
        hashes: np.ndarray,
        block: int,
        done: Callable[[int], None],
        block_done: Callable[[], None],
    ) -> None:
        self._shards, self._hashes, self._block = shards, hashes, block
        self._done, self._block_done = done, block_done
        self._failed = False

    def run(
        self, rows: range, images: Iterable[Prepared | BadImage], encoder: GpuEncoder, batch_images: int | None
    ) -> None:
        """Take the images of these rows, in order, in batches of `batch_images`, or None: of a block each.

        Raises what writing, the GPU or `images` raises.
        """
        group, under_way = _Group(), deque[Future[None]]()
        with ThreadPoolExecutor(1, thread_name_prefix="store") as writer:
            try:
                for row, image in zip(rows, images, strict=True):
                    group.add(row, image)
                    if row == rows[-1] or (
                        self._ends_block(row) if batch_images is None else len(group.images) == batch_images
                    ):
                        features = encoder.start(group.images, self._hashes[group.good]) if group.images else None
                        under_way.append(writer.submit(self._write, group, features))
                        group = _Group()
                    if len(under_way) > UNDER_WAY:
                        under_way.popleft().result()
                while under_way:
                    under_way.popleft().result()
            finally:
                writer.shutdown(cancel_futures=True)

    def _ends_block(self, row: int) -> bool:
        return (row + 1) % self._block == 0 or row + 1 == len(self._hashes)

    def _write(self, group: _Group, features: PendingFeatures | None) -> None:
        if self._failed:  # what comes after a batch that could not be written must not be
            return
        self._failed = True
        found = iter(zip(group.images, features())) if features else iter(())
        for row in group.rows:
            if row in group.bad:
                self._shards.skip(self._hashes[row], group.bad[row])
            else:
                image, of_image = next(found)
                self._shards.add_image(self._hashes[row], image)
                self._shards.add_features(of_image)
            if self._ends_block(row):
                self._shards.close_block()
                self._block_done()
        self._done(len(group.rows))
        self._failed = False
