"""The towers of an open_clip CLIP with prompt tokens at their first layers: deep prompts, as in VPT (arXiv 2203.12119).

Every prompted layer throws away what became of the tokens before it and takes its own. In the image tower they stand
after the image's own tokens, and are dropped before pooling; those of the first layer pass the tower's first LayerNorm,
as the image's tokens do. In the text tower they stand behind the start token, in the place of as many words.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .torchvision_ops import ensure_torchvision

ensure_torchvision()
from open_clip.transformer import ResidualAttentionBlock, text_global_pool  # noqa: E402


def takes_prompts(transformer: Any) -> bool:
    """Whether the layers are open_clip's plain ones, which `through` knows."""
    return all(type(layer) is ResidualAttentionBlock for layer in transformer.resblocks)


def image_features(tower: Any, pixels: Tensor, prompts: Tensor) -> Tensor:
    """float32 [N,3,S,S] normalised pixels, prompts [layers, tokens, width] -> [N,D], not normalised."""
    x = tower._embeds(pixels)
    own = x.shape[1]
    for index, layer in enumerate(tower.transformer.resblocks):
        if index < len(prompts):
            tokens = prompts[index].to(x.dtype)
            tokens = tower.ln_pre(tokens) if index == 0 else tokens
            x = torch.cat([x[:, :own], tokens.expand(x.shape[0], -1, -1)], dim=1)
        x = through(layer, x)
    pooled, _ = tower._pool(x[:, :own])
    return pooled @ tower.proj  # type: ignore[no-any-return]


def text_features(clip: Any, ids: Tensor, prompts: Tensor) -> Tensor:
    """int64 token ids [C,L], prompts [layers, tokens, width] in the place of ids 1..tokens -> [C,D], not normalised.

    `clip` is an open_clip.CLIP; its text positions are added to the prompts of the first layer, as they were to words.
    """
    x, behind = clip.token_embedding(ids), 1 + prompts.shape[1]
    for index, layer in enumerate(clip.transformer.resblocks):
        if index < len(prompts):
            tokens = prompts[index].expand(len(ids), -1, -1)
            x = torch.cat([x[:, :1], tokens, x[:, behind:]], dim=1)
        x = x + clip.positional_embedding if index == 0 else x
        x = through(layer, x, clip.attn_mask)
    return text_end(clip, x, ids, clip.text_pool_type, clip.text_eos_id)


def text_end(tower: Any, x: Tensor, ids: Tensor, pool: str, end: int) -> Tensor:
    """What comes behind the layers: x [N,L,width] -> [N,D], read where `pool` says, `end` being the end token's id."""
    pooled = text_global_pool(tower.ln_final(x), ids, pool, end)
    projection = tower.text_projection
    return projection(pooled) if isinstance(projection, nn.Linear) else pooled @ projection


def through(layer: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """x [N,T,width] through one plain layer; `mask` [T,T] is added to the attention's logits."""
    x = x + layer.ls_1(attention(layer.attn, layer.ln_1(x), mask))
    return x + layer.ls_2(layer.mlp(layer.ln_2(x)))  # type: ignore[no-any-return]


def attention(layer: nn.MultiheadAttention, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """Self-attention of x [N,T,width] with that layer's weights.

    torch's own forward puts the tokens first, and the graph that its exporter makes of this, in float16 and with a free
    batch, kills onnxruntime 1.32 while it is loaded.
    """
    n, length, width = x.shape
    mixed = F.linear(x, layer.in_proj_weight, layer.in_proj_bias)
    q, k, v = mixed.reshape(n, length, 3, layer.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    mask = None if mask is None else mask.to(x.dtype)
    out = F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).reshape(n, length, width)
    return layer.out_proj(out)  # type: ignore[no-any-return]
