"""Fold BatchNorm into the layer before it, in float32, for any network that can be run once.

Done before a half copy is made: in half a running variance above 65504 is infinite and a small one loses its digits,
while the folded weights are ordinary numbers.
"""

from __future__ import annotations

import copy
import logging
from collections import Counter
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

log = logging.getLogger(__name__)

Network = TypeVar("Network", bound=nn.Module)

# 0 would do, but torch 2.11 refuses it. This is positive, and 1 + 1e-30 is 1 in every dtype.
NO_EPSILON = 1e-30


def fold_batch_norms(module: Network, example: Tensor) -> Network:
    """A float32 copy in eval mode with every foldable BatchNorm folded; an identity stays where it was.

    Who follows whom is observed while the copy runs on `example`: the very tensor that a Conv2d or Linear returned
    enters the BatchNorm, and each of the two runs once. The folded copy must give the same outputs; where it does not
    (a layer that computes its weights on the fly), the copy is returned unfolded.
    """
    plain = copy.deepcopy(module).cpu().float().eval().requires_grad_(False)
    folded = copy.deepcopy(plain)
    with torch.inference_mode():
        expected = plain(example)
    for layer, norm in _pairs(folded, example):
        _fold(layer, norm)
    with torch.inference_mode():
        got = folded(example)
    if all((a - b).abs().max() <= 1e-3 * b.abs().max() for a, b in zip(got, expected)):  # False for NaN
        return folded
    log.info("BatchNorm is not folded: doing so would change the outputs of this network")
    return plain


def without_identities(module: nn.Module) -> None:
    """Take the BatchNorm layers that folding left as identities out of `module`, in place; what such a layer does
    beside (timm's hold an activation) stays."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, _BatchNorm) and child.eps == NO_EPSILON:
                rest = [getattr(child, part) for part in ("drop", "act") if hasattr(child, part)]
                setattr(parent, name, nn.Sequential(*rest) if rest else nn.Identity())


def _pairs(module: nn.Module, example: Tensor) -> list[tuple[nn.Conv2d | nn.Linear, _BatchNorm]]:
    made_by: list[tuple[Tensor, nn.Conv2d | nn.Linear]] = []  # holds the tensors, so that no id is used twice
    pairs: list[tuple[nn.Conv2d | nn.Linear, _BatchNorm]] = []
    calls: Counter[nn.Module] = Counter()

    def remember(layer: nn.Module, _: object, output: Tensor) -> None:
        calls[layer] += 1
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            made_by.append((output, layer))

    def look_up(norm: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if isinstance(norm, _BatchNorm) and norm.running_mean is not None:
            pairs.extend((layer, norm) for tensor, layer in made_by[-1:] if tensor is inputs[0])

    hooks = []
    for part in module.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear, _BatchNorm)):
            hooks += [part.register_forward_hook(remember), part.register_forward_pre_hook(look_up)]
    try:
        with torch.inference_mode():
            module(example)
    finally:
        for hook in hooks:
            hook.remove()
    return [(layer, norm) for layer, norm in pairs if calls[layer] == calls[norm] == 1]


def _fold(layer: nn.Conv2d | nn.Linear, norm: _BatchNorm) -> None:
    """`layer` takes over what `norm` does; `norm` becomes the identity (which the exporter removes)."""
    fuse = fuse_linear_bn_weights if isinstance(layer, nn.Linear) else fuse_conv_bn_weights
    statistics = (norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias)
    layer.weight, layer.bias = fuse(layer.weight, layer.bias, *statistics)  # type: ignore[arg-type]
    zeros = torch.zeros_like(layer.bias)
    norm.running_mean, norm.running_var, norm.eps = zeros, torch.ones_like(zeros), NO_EPSILON
    norm.weight = nn.Parameter(torch.ones_like(zeros), requires_grad=False)
    norm.bias = nn.Parameter(torch.zeros_like(zeros), requires_grad=False)
