"""Give a network its BatchNorm back: the opposite of folding, for a start whose file has it folded away.

Weights converted from deployed models (TFLite, ONNX) carry BatchNorm layers that only add a bias: running mean 0,
variance 1. In evaluation that is right; in training such a layer divides by the batch's own spread, and the first step
destroys the network. Here every layer is rewritten so that it *does* standardise its input, with the statistics of
real images, and undoes it with its own weight and bias: the same function in evaluation, and (up to the noise of a
batch) in training too.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def is_folded(module: nn.Module) -> bool:
    """Whether the BatchNorm layers are identities with a bias. A freshly made network has no bias yet: not folded."""
    norms = [layer for layer in module.modules() if isinstance(layer, _BatchNorm)]
    return bool(norms) and all(_is_identity(layer) for layer in norms) and any(_has_bias(layer) for layer in norms)


def _is_identity(layer: _BatchNorm) -> bool:
    if layer.running_mean is None or layer.running_var is None:
        return False
    return bool((layer.running_mean == 0).all()) and bool(((layer.running_var - 1).abs() < 0.01).all())


def _has_bias(layer: _BatchNorm) -> bool:
    return layer.bias is not None and bool((layer.bias != 0).any())


@torch.no_grad()
def unfold(module: nn.Module, batches: Iterable[Tensor]) -> int:
    """Rewrite every affine BatchNorm in `module`, in place, with the statistics of `batches`; returns how many.

    `batches` are what `module` takes; a few hundred images are enough. One pass, in evaluation mode: as rewriting a
    layer leaves its function alone, the statistics of those behind it do not depend on it.
    """
    layers = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.affine and m.running_mean is not None]
    moments = {layer: _Moments(layer) for layer in layers}
    hooks = [layer.register_forward_pre_hook(moments[layer].add) for layer in layers]
    training = module.training
    module.eval()
    try:
        for batch in batches:
            module(batch)
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    rewritten = [layer for layer in layers if moments[layer].count]
    for layer in rewritten:
        old_mean, old_variance = layer.running_mean, layer.running_var
        assert old_mean is not None  # for mypy: `layers` holds no others
        assert old_variance is not None
        mean, variance = moments[layer].mean_and_variance()
        slope = layer.weight.double() / (old_variance.double() + layer.eps).sqrt()
        offset = layer.bias.double() - old_mean.double() * slope
        layer.weight.copy_(slope * (variance + layer.eps).sqrt())
        layer.bias.copy_(offset + slope * mean)
        old_mean.copy_(mean)
        old_variance.copy_(variance)
    return len(rewritten)


class _Moments:
    """Sum and sum of squares of a layer's input, per channel, in float64."""

    def __init__(self, layer: _BatchNorm) -> None:
        self.count = 0
        self.sum = torch.zeros(layer.num_features, dtype=torch.float64, device=layer.weight.device)
        self.squares = torch.zeros_like(self.sum)

    def add(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0].double()
        others = [axis for axis in range(x.ndim) if axis != 1]
        self.sum += x.sum(others)
        self.squares += x.square().sum(others)
        self.count += x.numel() // x.shape[1]

    def mean_and_variance(self) -> tuple[Tensor, Tensor]:
        mean = self.sum / self.count
        return mean, (self.squares / self.count - mean.square()).clamp(min=0)
