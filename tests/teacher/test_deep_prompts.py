"""Prompt tokens in both towers of a CLIP: where they stand, and that without them nothing changes."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from edgedistill.teacher.deep_prompts import attention, image_features, takes_prompts, text_features

open_clip = pytest.importorskip("open_clip")  # after our own import, which sees to torchvision

LAYERS, WIDTH, LENGTH = 3, 16, 8


@pytest.fixture(scope="module")
def clip() -> Any:
    torch.manual_seed(0)
    vision = {"image_size": 16, "layers": LAYERS, "width": WIDTH, "patch_size": 8, "head_width": 8}
    text = {"context_length": LENGTH, "vocab_size": 40, "width": WIDTH, "heads": 2, "layers": LAYERS}
    return open_clip.CLIP(10, vision, text).eval().double()


IDS = torch.tensor([[30, 1, 2, 3, 4, 39, 0, 0], [30, 1, 2, 5, 39, 0, 0, 0]])  # 39, the highest, ends a text
NONE = torch.zeros(0, 2, WIDTH, dtype=torch.float64)


def drawn(layers: int, tokens: int = 2, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(layers, tokens, WIDTH, generator=generator, dtype=torch.float64)


def test_without_prompts_both_towers_are_open_clips(clip: Any) -> None:
    pixels = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    assert torch.allclose(image_features(clip.visual, pixels, NONE), clip.encode_image(pixels), atol=1e-9)
    assert torch.allclose(text_features(clip, IDS, NONE), clip.encode_text(IDS), atol=1e-9)


def test_the_first_layers_text_prompts_stand_for_words(clip: Any) -> None:
    words = clip.token_embedding(torch.tensor([[7, 8]]))
    instead = IDS.clone()
    instead[:, 1:3] = torch.tensor([7, 8])
    assert torch.allclose(text_features(clip, IDS, words), clip.encode_text(instead), atol=1e-9)


def test_what_became_of_a_layers_text_prompts_is_thrown_away(clip: Any) -> None:
    """Under the causal mask the start token sees no prompt, and the words behind see them: by hand, layer by layer."""
    prompts = drawn(2)
    x = clip.token_embedding(IDS)
    x[:, 1:3] = prompts[0]
    x = x + clip.positional_embedding
    for layer, block in enumerate(clip.transformer.resblocks):
        if layer == 1:
            x = x.clone()
            x[:, 1:3] = prompts[1]
        x = block(x, attn_mask=clip.attn_mask)
    ends = clip.ln_final(x)[torch.arange(2), IDS.argmax(-1)]
    assert torch.allclose(text_features(clip, IDS, prompts), ends @ clip.text_projection, atol=1e-9)


def test_every_prompt_of_every_layer_has_a_gradient(clip: Any) -> None:
    text, image = drawn(LAYERS).requires_grad_(), drawn(LAYERS, seed=2).requires_grad_()
    pixels = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    (text_features(clip, IDS, text).sum() + image_features(clip.visual, pixels, image).sum()).backward()
    for prompts in (text, image):
        assert (prompts.grad.abs().sum(-1) > 0).all()  # type: ignore[union-attr]


def test_attention_is_torchs(clip: Any) -> None:
    layer, x = clip.transformer.resblocks[0].attn, drawn(3, tokens=LENGTH)
    for mask in (None, clip.attn_mask.double()):
        expected = layer(x, x, x, need_weights=False, attn_mask=mask)[0]
        assert torch.allclose(attention(layer, x, mask), expected, atol=1e-9)


def test_other_layers_than_open_clips_plain_ones_are_not_taken() -> None:
    vision = {"image_size": 16, "layers": 1, "width": WIDTH, "patch_size": 8, "head_width": 8, "qk_norm": True}
    text = {"context_length": LENGTH, "vocab_size": 40, "width": WIDTH, "heads": 2, "layers": 1}
    made = open_clip.CLIP(10, vision, text)
    assert not takes_prompts(made.visual.transformer)
    assert takes_prompts(made.transformer)
