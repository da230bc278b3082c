"""A student trained on with int8's steps in its way, so that its weights come to lie where the steps do little harm.

Every convolution and linear layer of the backbone sees its weights and its input as int8 will have them: the weights
rounded to 255 steps by output channel around zero, the input to 256 over the range it took on photos of the pool, or
around zero, as the runtime wants it (torch's fake-quantise operators, whose gradient passes straight through inside the
range; Jacob et al. 2018, arXiv 1712.05877). What int8 rounds besides has no steps here: both sides of an addition, the
products inside attention, and layers whose weights torch uses without calling them (nn.MultiheadAttention). What is
kept are the plain weights: the student is exported and quantised like any other.

Per channel, the scale that BatchNorm puts on a weight later changes nothing about its steps, so nothing is folded.
"""

from __future__ import annotations

import copy
import dataclasses
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from .config import TrainConfig
from .student import Student

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SHARE = 0.1  # of the epochs that the student was trained for
LEAST_EPOCHS = 2
LR, HEAD_LR = 1e-4, 3e-4  # a tenth of what a student begins with: it only has to move a little


def config_for(trained: TrainConfig, epochs: int) -> TrainConfig:
    """How a student that was trained like this, for `epochs`, is fine-tuned: a tenth as long, a tenth as fast, with the
    statistics it has."""
    return dataclasses.replace(
        trained,
        epochs=max(LEAST_EPOCHS, round(SHARE * epochs)),
        lr=LR,
        head_lr=HEAD_LR,
        norm="start",
        interpolation=1.0,
    )


def with_steps(student: Student, images: np.ndarray, *, symmetric: bool) -> Student:
    """A copy whose backbone computes with int8's steps, over the ranges that its layers' inputs take on `images` (uint8
    [K,S,S,3]). Its parameters and their names are those of the student.

    symmetric: inputs are int8 around zero, as TensorRT has them; else uint8 with a zero point, as processors do.
    """
    stepped = copy.deepcopy(student).eval()
    layers = [layer for layer in stepped.backbone.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
    ranges = _ranges(stepped, layers, images)
    for layer in layers:
        if layer in ranges:  # one that never ran has none
            low, high = ranges[layer]
            layer.__class__ = _stepped_class(type(layer))  # type: ignore[arg-type, assignment]  # a class can be hashed
            cast(_Stepped, layer).steps = steps_of(low, high, symmetric=symmetric)
    return stepped


class Steps(NamedTuple):
    """How a tensor is rounded: the size of a step, the step that is zero, the first and the last."""

    scale: float
    zero: int
    first: int
    last: int


class _Stepped(Protocol):
    """What a layer gains: the steps of its input."""

    steps: Steps


@cache
def _stepped_class(kind: type[nn.Module]) -> type[nn.Module]:
    """`kind` with its weight and its input rounded. A class of its own, so that a convolution that pads in its own way
    goes on doing so, and a copy of a layer is one, too."""

    class Stepped(kind):  # type: ignore[misc, valid-type]
        @property
        def weight(self) -> Tensor:
            """As int8 has it; the parameter that learns lies where torch keeps it."""
            plain: Tensor = self._parameters["weight"]
            largest = plain.detach().abs().flatten(1).amax(dim=1).clamp_min(torch.finfo(torch.float32).tiny)
            zeros = torch.zeros(len(plain), dtype=torch.int32, device=plain.device)
            return torch.fake_quantize_per_channel_affine(plain.float(), largest.float() / 127, zeros, 0, -127, 127)

        def forward(self, value: Tensor) -> Tensor:
            rounded = torch.fake_quantize_per_tensor_affine(value.float(), *cast(_Stepped, self).steps)
            return cast(Tensor, super().forward(rounded))

    Stepped.__name__ = Stepped.__qualname__ = f"Stepped{kind.__name__}"
    return Stepped


def steps_of(low: float, high: float, *, symmetric: bool) -> Steps:
    """The steps of a tensor that lies between `low` and `high`: as onnxruntime's quantiser chooses them."""
    low, high = min(low, 0.0), max(high, 0.0)
    if symmetric:
        return Steps(max(-low, high, 1e-8) / 127, 0, -128, 127)
    scale = max(high - low, 1e-8) / 255
    return Steps(scale, round(-low / scale), 0, 255)


def _ranges(student: Student, layers: Sequence[nn.Module], images: np.ndarray) -> dict[nn.Module, tuple[float, float]]:
    """The least and the largest value that enters each layer."""
    found: dict[nn.Module, tuple[float, float]] = {}

    def look(layer: nn.Module, inputs: tuple[Any, ...]) -> None:
        low, high = found.get(layer, (0.0, 0.0))
        found[layer] = min(low, float(inputs[0].min())), max(high, float(inputs[0].max()))

    hooks = [layer.register_forward_pre_hook(look) for layer in layers]
    try:
        with torch.inference_mode():
            for part in _parts(images):
                student(torch.from_numpy(part))
    finally:
        for hook in hooks:
            hook.remove()
    return found


def _parts(images: np.ndarray, size: int = 32) -> Iterator[np.ndarray]:
    for start in range(0, len(images), size):
        yield np.ascontiguousarray(images[start : start + size])
