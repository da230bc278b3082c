"""What an image that is made under a teacher is asked for: the terms, each a number an image, all differentiable.

N images, K views of each, features u [K,N,D] of unit length. No term reads the network that made the features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def cosine(features: Tensor, targets: Tensor) -> Tensor:
    """[N]: mean over the views of ⟨u, target⟩, targets [N,D] of unit length."""
    return torch.einsum("knd,nd->kn", features, targets).mean(0)


def cross_entropy(features: Tensor, class_vectors: Tensor, scale: float, shares: Tensor) -> Tensor:
    """[N]: mean over the views of CE(scale · u Wᵀ, shares), W [C,D], shares [N,C]; at the teacher's own scale."""
    logits = scale * features @ class_vectors.T
    return -(shares * logits.log_softmax(-1)).sum(-1).mean(0)


def total_variation(images: Tensor) -> Tensor:
    """[N]: mean absolute difference of neighbours, summed over right, down and the two diagonals; images [N,3,S,S].

    The four directions are those of arXiv 2403.02580; the mean of absolute values is ours.
    """
    right = images[..., :, 1:] - images[..., :, :-1]
    down = images[..., 1:, :] - images[..., :-1, :]
    falling = images[..., 1:, 1:] - images[..., :-1, :-1]
    rising = images[..., 1:, :-1] - images[..., :-1, 1:]
    return torch.stack([part.abs().mean(dim=(1, 2, 3)) for part in (right, down, falling, rising)]).sum(0)


def energy(images: Tensor) -> Tensor:
    """[N]: ‖x − ½‖², summed over images [N,3,S,S] in 0..1: how far from grey, which is what L2 pulls to."""
    return (images - 0.5).square().sum(dim=(1, 2, 3))


def likeness(features: Tensor, classes: Tensor) -> Tensor:
    """[N]: each image's mean cosine with the other images of its class; 0 where there is none. classes int64 [N].

    An image's feature here is the mean of its views', so that no further pass is needed.
    """
    unit = F.normalize(features.mean(0), dim=-1)
    pairs = (classes[:, None] == classes) & ~torch.eye(len(classes), dtype=torch.bool, device=classes.device)
    return ((unit @ unit.T) * pairs).sum(1) / pairs.sum(1).clamp_min(1)


class BatchNormStatistics:
    """R_bn: how far a batch's means and variances are from those that a network's BatchNorm layers remember.

    DeepInversion (arXiv 1912.08795) takes the Euclidean distances of means and of variances. Ours is free of a layer's
    units and size: the mean over channels of ((μ̂ − μ)/σ)² + (σ̂/σ − 1)², then the mean over layers.
    `network` is in eval mode, `mean` and `std` are of its pixels in 0..1. Layers whose statistics were never learned,
    or were folded away (mean 0 and variance 1 in all channels), say nothing of images and are left out. Raises
    ValueError where no layer is left.
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        self._network, self._mean, self._std = network, mean, std
        self._layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d) and _learned(layer)]
        if not self._layers:
            raise ValueError("no BatchNorm layer of this network remembers images")

    def distance(self, images: Tensor) -> Tensor:
        """A scalar for images [N,3,S,S] in 0..1; a batch's statistics are those of all its images."""
        mean, std = (images.new_tensor(values).view(3, 1, 1) for values in (self._mean, self._std))
        found: list[Tensor] = []

        def measure(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found.append(_off(layer, inputs[0]))

        hooks = [layer.register_forward_pre_hook(measure) for layer in self._layers]
        try:
            self._network((images - mean) / std)
        finally:
            for hook in hooks:
                hook.remove()
        return torch.stack(found).mean()


def _off(layer: Any, values: Tensor) -> Tensor:
    mean, variance = _Moments.apply(values)  # type: ignore[no-untyped-call]
    spread = (layer.running_var + layer.eps).sqrt()
    off = ((mean - layer.running_mean) / spread).square() + ((variance + layer.eps).sqrt() / spread - 1).square()
    return off.mean()


class _Moments(torch.autograd.Function):
    """(mean, variance) [C] of float [N,C,H,W]. torch's own gradient of var_mean goes over the values four times."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> tuple[Tensor, Tensor]:
        variance, mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)
        ctx.save_for_backward(values, mean)
        return mean, variance

    @staticmethod
    def backward(ctx: Any, *found: Tensor) -> Tensor:
        values, mean = ctx.saved_tensors
        of_mean, of_variance = found
        count = values.numel() / values.shape[1]
        slope = 2 / count * of_variance
        offset = of_mean / count - slope * mean
        return torch.addcmul(offset[:, None, None], values, slope[:, None, None])


def _learned(layer: nn.BatchNorm2d) -> bool:
    if layer.running_mean is None or layer.running_var is None:
        return False
    return bool((layer.running_mean != 0).any() or (layer.running_var != 1).any())
