"""A student trained on with int8's steps in its way, so that its weights come to lie where the steps do little harm.

Every convolution of the backbone sees its weights and its input as int8 will have them: rounded to 256 steps, the
weights by output channel around zero, the input over the range it took on photos of the pool (torch's fake-quantise
operators, whose gradient passes straight through inside the range; Jacob et al. 2018, arXiv 1712.05877). What is kept
are the plain weights: the student is exported and quantised like any other.

Per channel, the scale that BatchNorm puts on a weight later changes nothing about its steps, so nothing is folded.
"""

from __future__ import annotations

import copy
import dataclasses
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from .config import TrainConfig
from .student import Student

if TYPE_CHECKING:
    from collections.abc import Iterator

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


def with_steps(student: Student, images: np.ndarray) -> Student:
    """A copy whose backbone computes with int8's steps, over the ranges that its layers' inputs take on `images` (uint8
    [K,S,S,3]). Its parameters and their names are those of the student."""
    stepped = copy.deepcopy(student).eval()
    layers = [layer for layer in stepped.backbone.modules() if isinstance(layer, nn.Conv2d)]
    ranges = _ranges(stepped, layers, images)
    for layer in layers:
        if layer in ranges:  # one that never ran has none
            low, high = ranges[layer]
            layer.__class__ = _stepped_class(type(layer))  # type: ignore[arg-type]  # a class can be hashed
            cast(_Stepped, layer).scale, cast(_Stepped, layer).zero = _steps(low, high)
    return stepped


class _Stepped(Protocol):
    """What a layer gains: the size of a step of its input, and the step that is zero."""

    scale: float
    zero: int


@cache
def _stepped_class(kind: type[nn.Conv2d]) -> type[nn.Conv2d]:
    """`kind` with its weight and its input rounded. A class of its own, so that a convolution that pads in its own way
    goes on doing so, and a copy of a layer is one, too."""

    class Stepped(kind):  # type: ignore[misc, valid-type]
        @property
        def weight(self) -> Tensor:
            """As int8 has it; the parameter that learns lies where torch keeps it."""
            plain: Tensor = self._parameters["weight"]
            largest = plain.detach().abs().amax(dim=(1, 2, 3)).clamp_min(torch.finfo(torch.float32).tiny)
            zeros = torch.zeros(len(plain), dtype=torch.int32, device=plain.device)
            return torch.fake_quantize_per_channel_affine(plain.float(), largest.float() / 127, zeros, 0, -127, 127)

        def forward(self, image: Tensor) -> Tensor:
            own = cast(_Stepped, self)
            rounded = torch.fake_quantize_per_tensor_affine(image.float(), own.scale, own.zero, 0, 255)
            return cast(Tensor, super().forward(rounded))

    Stepped.__name__ = Stepped.__qualname__ = f"Stepped{kind.__name__}"
    return Stepped


def _steps(low: float, high: float) -> tuple[float, int]:
    """(size of a step, the step that is zero) of 256 steps from `low` to `high`, which hold zero."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, 1e-8) / 255
    return scale, round(-low / scale)


def _ranges(student: Student, layers: list[nn.Conv2d], images: np.ndarray) -> dict[nn.Module, tuple[float, float]]:
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
