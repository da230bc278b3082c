"""Towers on smaller images: the same weights, the same features where nothing was made smaller."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edgedistill.synthesis.small_tower import folded, small_tower

open_clip = pytest.importorskip("open_clip")  # after our own import, which sees to torchvision

TEXT = {"context_length": 8, "vocab_size": 40, "width": 16, "heads": 2, "layers": 1}


def tower(**vision: Any) -> Any:
    torch.manual_seed(0)
    model = open_clip.model.CustomTextCLIP if "timm_model_name" in vision else open_clip.CLIP
    return model(10, vision, TEXT).visual.eval().requires_grad_(False)


def test_a_vision_transformer_gets_resized_positions_and_shares_its_weights() -> None:
    own = tower(image_size=64, layers=2, width=16, patch_size=8, head_width=8)
    small, size = small_tower(own, 64, 33)
    assert size == 32
    assert small(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert own(torch.rand(2, 3, 64, 64)).shape == (2, 10)
    assert small.conv1.weight is own.conv1.weight
    assert torch.equal(small.positional_embedding[0], own.positional_embedding[0])
    middle = own.positional_embedding[1:].mean(0)
    assert torch.allclose(small.positional_embedding[1:].mean(0), middle, atol=0.02)


def test_nothing_changes_at_a_towers_own_size_or_above() -> None:
    own = tower(image_size=64, layers=1, width=16, patch_size=8, head_width=8)
    assert small_tower(own, 64, 64) == (own, 64)
    assert small_tower(own, 64, 100) == (own, 64)


def test_a_timm_network_takes_any_size_or_is_told_it() -> None:
    convolutions = tower(timm_model_name="resnet10t", timm_model_pretrained=False, timm_pool="avg", image_size=64)
    assert small_tower(convolutions, 64, 41) == (convolutions, 41)
    options = {"timm_pool": "token", "timm_proj": "linear", "image_size": 224}
    own = tower(timm_model_name="vit_tiny_patch16_224", timm_model_pretrained=False, **options)
    small, size = small_tower(own, 224, 30)
    assert size == 32
    assert small(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert own(torch.rand(1, 3, 224, 224)).shape == (1, 10)


def test_a_resnet_with_attention_pooling_keeps_its_size() -> None:
    own = tower(image_size=64, layers=[1, 1, 1, 1], width=8)
    assert small_tower(own, 64, 32) == (own, 64)


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv2_050"])  # BatchNorm alone, and with an activation in it
def test_a_folded_tower_answers_the_same_and_holds_no_batchnorm(name: str) -> None:
    own = tower(image_size=32, timm_model_name=name, timm_pool="avg", timm_proj="linear")
    for layer in own.modules():
        if isinstance(layer, nn.BatchNorm2d):
            nn.init.normal_(layer.running_mean, std=0.2)
            nn.init.uniform_(layer.running_var, 0.5, 2)
    images = torch.rand(3, 3, 32, 32)
    fast = folded(own, 32)
    assert torch.allclose(fast(images), own(images), atol=1e-4)
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in fast.modules())
    assert any(isinstance(layer, nn.BatchNorm2d) for layer in own.modules())
    assert not any(weight.requires_grad for weight in fast.parameters())


def test_a_tower_without_batchnorm_is_left_alone() -> None:
    own = tower(image_size=64, layers=1, width=16, patch_size=8, head_width=8)
    assert folded(own, 64) is own
