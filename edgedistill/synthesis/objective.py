"""What an image that is made under a teacher is asked for: the terms, each a number an image, all differentiable.

N images, K views of each, features u [N,K,D] of unit length. No term reads the network that made the features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def cosine(features: Tensor, targets: Tensor) -> Tensor:
    """[N]: mean over the views of ⟨u, target⟩, targets [N,D] of unit length."""
    return (features @ targets[:, :, None]).mean(dim=(1, 2))


def cross_entropy(features: Tensor, class_vectors: Tensor, scale: float, shares: Tensor) -> Tensor:
    """[N]: mean over the views of CE(scale · u Wᵀ, shares), W [C,D], shares [N,C]; at the teacher's own scale."""
    logits = scale * features @ class_vectors.T
    return -(shares[:, None] * logits.log_softmax(-1)).sum(-1).mean(1)


def total_variation(images: Tensor) -> Tensor:
    """[N]: mean absolute difference of neighbours, summed over right, down and the two diagonals; images [N,3,S,S].

    The four directions are those of arXiv 2403.02580; the mean of absolute values is ours.
    """
    found: Tensor = _Variation.apply(images)  # type: ignore[no-untyped-call]
    return found


_ALL, _LATER, _EARLIER = slice(None), slice(1, None), slice(None, -1)
_NEIGHBOURS = (  # rows and columns of the one, of the other
    ((_ALL, _LATER), (_ALL, _EARLIER)),
    ((_LATER, _ALL), (_EARLIER, _ALL)),
    ((_LATER, _LATER), (_EARLIER, _EARLIER)),
    ((_LATER, _EARLIER), (_EARLIER, _LATER)),
)


class _Variation(torch.autograd.Function):
    """The gradient is no more than signs: they are added up while the differences lie ready."""

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        found, slope = images.new_zeros(len(images)), torch.zeros_like(images)
        for one, other in _NEIGHBOURS:
            apart = images[(..., *one)] - images[(..., *other)]
            share = 1 / apart[0].numel()
            found.add_(apart.flatten(1).norm(1, dim=1), alpha=share)
            apart.sign_()
            slope[(..., *one)].add_(apart, alpha=share)
            slope[(..., *other)].sub_(apart, alpha=share)
        ctx.save_for_backward(slope)
        return found

    @staticmethod
    def backward(ctx: Any, *found: Tensor) -> Tensor:
        (slope,) = ctx.saved_tensors
        return slope * found[0].view(-1, 1, 1, 1)


def energy(images: Tensor) -> Tensor:
    """[N]: ‖x − ½‖², summed over images [N,3,S,S] in 0..1: how far from grey, which is what L2 pulls to."""
    return (images - 0.5).square().sum(dim=(1, 2, 3))


def likeness(features: Tensor, classes: Tensor) -> Tensor:
    """[N]: each image's mean cosine with the other images of its class; 0 where there is none. classes int64 [N].

    An image's feature here is the mean of its views', so that no further pass is needed.
    """
    unit = F.normalize(features.mean(1), dim=-1)
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
        layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d) and _learned(layer)]
        if not layers:
            raise ValueError("no BatchNorm layer of this network remembers images")
        self._network, self._layers = network, layers

        def one_row(value: Callable[[Any], Tensor | float]) -> Tensor:
            return torch.cat(
                [torch.zeros_like(cast(Tensor, layer.running_mean)).add_(value(layer)) for layer in layers]
            )

        # The channels of all layers in a row: a step then costs one expression and not one for each layer.
        self._means = one_row(lambda layer: layer.running_mean)
        self._eps = one_row(lambda layer: layer.eps)
        self._spreads = (one_row(lambda layer: layer.running_var) + self._eps).sqrt()
        self._weights = one_row(lambda layer: 1 / (len(layers) * layer.num_features))
        self._gain = 1 / self._means.new_tensor(std).view(3, 1, 1)
        self._offset = -self._gain * self._means.new_tensor(mean).view(3, 1, 1)

    def distance(self, images: Tensor) -> Tensor:
        """A scalar for images [N,3,S,S] in 0..1, of the network's dtype; a batch's statistics are those of all its
        images."""
        found: list[tuple[Tensor, Tensor]] = []

        def measure(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found.append(_Moments.apply(inputs[0], layer.running_mean))  # type: ignore[no-untyped-call]

        hooks = [layer.register_forward_pre_hook(measure) for layer in self._layers]
        try:
            self._network(torch.addcmul(self._offset, images, self._gain))
        finally:
            for hook in hooks:
                hook.remove()
        means, variances = (torch.cat(parts) for parts in zip(*found))
        off_mean = (means - self._means) / self._spreads
        off_spread = (variances + self._eps).sqrt() / self._spreads - 1
        return (off_mean.square() + off_spread.square()) @ self._weights


class _Moments(torch.autograd.Function):
    """(mean, variance) [C] of float [N,C,H,W], whose mean is near `about` [C].

    The variance is the mean square less the squared mean, which plain sums take far faster than torch.var_mean walks
    over images that are not channels last. Less `about` first, since in float32 a mean that is large beside the spread
    would leave nothing of the difference. torch's own gradient goes over the values four times, this one once.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, about: Tensor) -> tuple[Tensor, Tensor]:
        off = values - about[:, None, None]
        beside = off.mean(dim=(0, 2, 3))
        variance = off.square_().mean(dim=(0, 2, 3)).sub_(beside.square()).clamp_min_(0)
        mean = about + beside
        ctx.save_for_backward(values, mean)
        return mean, variance

    @staticmethod
    def backward(ctx: Any, *found: Tensor) -> tuple[Tensor, None]:
        values, mean = ctx.saved_tensors
        of_mean, of_variance = found
        count = values.numel() / values.shape[1]
        slope = 2 / count * of_variance
        offset = of_mean / count - slope * mean
        return torch.addcmul(offset[:, None, None], values, slope[:, None, None]), None


def _learned(layer: nn.BatchNorm2d) -> bool:
    if layer.running_mean is None or layer.running_var is None:
        return False
    return bool((layer.running_mean != 0).any() or (layer.running_var != 1).any())
