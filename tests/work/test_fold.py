"""Folding BatchNorm: same outputs, fewer layers, and a network it cannot fold is left as it is."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgedistill.teacher.torchvision_ops import ensure_torchvision
from edgedistill.work.fold import fold_batch_norms

ensure_torchvision()
from timm.layers import BatchNormAct2d  # noqa: E402


class Small(nn.Module):
    """Convolution, grouped convolution and linear layer, each with a BatchNorm behind it."""

    def __init__(self, convolution: type[nn.Conv2d] = nn.Conv2d) -> None:
        super().__init__()
        self.stem = convolution(3, 8, 3, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.norm2 = nn.BatchNorm2d(8, affine=False)
        self.head = nn.Sequential(nn.Linear(8, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 4))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.norm2(self.depthwise(self.norm(self.stem(x)).relu())).mean((2, 3))
        return features, self.head(features)


def lived_in(module: nn.Module) -> nn.Module:
    """Statistics and weights as training leaves them, not the identity that a fresh BatchNorm is."""
    torch.manual_seed(3)
    for norm in module.modules():
        if isinstance(norm, (nn.BatchNorm1d, nn.BatchNorm2d)):
            norm.running_mean.uniform_(-2, 2)
            norm.running_var.uniform_(0.1, 3)
            if norm.affine:
                nn.init.uniform_(norm.weight, 0.5, 2)
                nn.init.uniform_(norm.bias, -1, 1)
    return module.eval()


def identities(module: nn.Module) -> list[bool]:
    norms = [part for part in module.modules() if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d))]
    return [bool((norm.running_var == 1).all() and (norm.running_mean == 0).all()) for norm in norms]


def test_the_folded_network_computes_the_same_and_its_norms_are_identities() -> None:
    module, images = lived_in(Small()), torch.randn(5, 3, 9, 9)
    folded = fold_batch_norms(module, images[:2])
    for got, expected in zip(folded(images), module(images)):
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
    assert identities(folded) == [True, True, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_a_folded_norm_returns_its_input_bit_for_bit_in_every_dtype(dtype: torch.dtype) -> None:
    norm = fold_batch_norms(lived_in(Small()), torch.randn(2, 3, 9, 9)).norm.to(dtype)
    features = (100 * torch.randn(4, 8, 5, 5)).to(dtype)
    assert torch.equal(norm(features), features)


def test_every_epsilon_is_positive_as_torch_2_11_wants_it() -> None:
    folded = fold_batch_norms(lived_in(Small()), torch.randn(2, 3, 9, 9))
    assert all(part.eps > 0 for part in folded.modules() if isinstance(part, (nn.BatchNorm1d, nn.BatchNorm2d)))


def test_an_activation_inside_a_norm_survives_folding() -> None:
    class Activated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.norm = nn.Conv2d(3, 8, 3, bias=False), BatchNormAct2d(8, act_layer=nn.SiLU)

        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (self.norm(self.stem(x)),)

    module, images = lived_in(Activated()), torch.randn(5, 3, 9, 9)
    folded = fold_batch_norms(module, images[:2])
    assert identities(folded) == [True]
    torch.testing.assert_close(folded(images)[0], module(images)[0], rtol=1e-5, atol=1e-6)


def test_the_original_is_not_touched() -> None:
    module = lived_in(Small())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    fold_batch_norms(module, torch.randn(1, 3, 9, 9))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert identities(module) == [False, False, False]


def test_a_layer_that_standardises_its_weights_is_left_unfolded() -> None:
    class Standardised(nn.Conv2d):
        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.weight / self.weight.std((1, 2, 3), keepdim=True), self.bias)

    module = lived_in(Small(Standardised))
    images = torch.randn(4, 3, 9, 9)
    folded = fold_batch_norms(module, images)
    assert identities(folded) == [False, False, False]
    assert all(torch.equal(got, expected) for got, expected in zip(folded(images), module(images)))


def test_a_norm_that_runs_twice_is_left_alone() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.norm = nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (self.norm(self.one(x)) + self.norm(self.two(x)),)

    assert identities(fold_batch_norms(lived_in(Shared()), torch.randn(2, 4))) == [False]


def test_a_variance_that_half_cannot_hold_survives_as_half() -> None:
    module = lived_in(Small())
    module.norm.running_var.fill_(1e6)
    module.stem.weight.data *= 1e3
    images = torch.randn(3, 3, 9, 9)
    features = module(images)[0]
    unfolded = copy.deepcopy(module).half()(images.half())[0]
    assert unfolded.std(0).max() == 0 < features.std(0).min()  # in half every image has become the same
    folded = fold_batch_norms(module, images).half()(images.half())[0]
    torch.testing.assert_close(folded.float().std(0), features.std(0), rtol=0.3, atol=0)
