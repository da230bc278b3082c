"""BatchNorm statistics moved towards a few photos, for a student that mostly learns from images that were made.

Training on such images keeps the mean and variance that the start came with (methods/data_free.py): they are of photos,
though of other ones. Where some photos of the place lie beside the images, these may say better what a layer will see.

After Schneider et al. 2020 (arXiv 2006.16971): what was remembered counts as `prior` photos (theirs are 8 to 128), the
n at hand as n, and a layer takes the weighted mean of both means and of both variances. That several views of a photo
are looked at, and that they count as one photo, is ours. On the example it does harm, before training and after
(benchmarks/data_free.py), so that it is done where it is asked for.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..teacher.store import TeacherStore
from .step import never_learned
from .student import Student

VIEWS = 128  # at most so many pictures are looked at, in one batch


def photos_beside_made(store: TeacherStore, rows: np.ndarray) -> np.ndarray:
    """int64: of these rows the photos, where both photos and images that were made are among them; else none."""
    if store.facts is None:
        return rows[:0]
    photos = store.facts.prompt_class[rows] < 0
    return rows[photos] if not photos.all() else rows[:0]


def made_alone(store: TeacherStore, rows: np.ndarray) -> bool:
    """Whether all of these rows are images that were made."""
    return store.facts is not None and bool((store.facts.prompt_class[rows] >= 0).all())


def move_to_photos(
    student: Student, store: TeacherStore, photos: np.ndarray, *, prior: int, size: int, seed: int
) -> int:
    """Move every BatchNorm layer of `student`, in place, towards these rows of the store; returns how many moved.

    photos: int64 [n], n > 0. `prior`: how many photos the remembered statistics count as. The views are drawn by
    `seed`: every photo as often as any other, or once more.
    """
    count = min(VIEWS, len(photos) * store.plain_views)
    turns = np.arange(count)
    generator = np.random.default_rng([seed, 4])
    shown = generator.permutation(photos)[turns % len(photos)]
    crops = store.pixels.crops(shown, turns // len(photos) % store.plain_views, size)
    device = next(student.parameters()).device
    return move_statistics(student, crops.to(device), photos=min(len(photos), count), prior=prior)


@torch.no_grad()
def move_statistics(network: nn.Module, batch: Tensor, *, photos: int, prior: int) -> int:
    """Move the mean and variance of every BatchNorm layer of `network` to what `batch` shows of so many photos.

    Layer after layer in one pass: each sees what those before it make of the photos with their new statistics. A layer
    that nobody has taught yet, and one that the pass does not reach, stays. Returns how many moved.
    """
    share = photos / (prior + photos)
    moved = 0

    def move(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal moved
        assert isinstance(layer, _BatchNorm)  # for mypy
        mean, variance = layer.running_mean, layer.running_var
        assert mean is not None  # for mypy: only those that remember something are asked
        assert variance is not None
        others = [axis for axis in range(inputs[0].ndim) if axis != 1]
        found = torch.var_mean(inputs[0].float(), others, correction=0)
        variance.lerp_(found[0], share)
        mean.lerp_(found[1], share)
        moved += 1

    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and not never_learned(layer)]
    hooks = [layer.register_forward_pre_hook(move) for layer in layers]
    training = network.training
    network.eval()
    try:
        network(batch)
    finally:
        network.train(training)
        for hook in hooks:
            hook.remove()
    return moved
