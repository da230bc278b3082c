"""What a teacher's open_clip_config.json may say of its network: each key that open_clip builds from, with its type.

The file comes with the weights, from whoever made them. open_clip hands what stands in it to constructors, to timm and
to transformers, which can fetch what a name says and run code that comes along: so keys are listed here, and a name is
a name. open_clip's own architectures all pass.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal

from .. import records

# Least and most of the numbers; a larger one is a mistake, or meant to fill the memory.
_RANGES: dict[str, tuple[float, float]] = {
    "embed_dim": (1, 65536),
    "width": (1, 16384),
    "head_width": (1, 16384),
    "dim_head": (1, 16384),
    "heads": (1, 1024),
    "attn_pooler_heads": (1, 1024),
    "attn_pooler_queries": (1, 65536),
    "n_queries": (1, 65536),
    "context_length": (1, 65536),
    "vocab_size": (1, 10_000_000),
    "mlp_ratio": (0.01, 64),
    "image_size": (1, 4096),
    "patch_size": (1, 4096),
    "layers": (1, 256),
    "init_logit_scale": (-20, 20),
    "init_logit_bias": (-1000, 1000),
}
_NAMES = {
    "timm_model_name": re.compile(r"\w+(\.\w+)?", re.ASCII),
    "hf_model_name": re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII),
    "hf_tokenizer_name": re.compile(r"(\w[\w.-]*(/\w[\w.-]*)?)?", re.ASCII),  # open_clip takes "" for none
}
CLIP_WORDS = 49408  # of CLIP's own tokeniser
_Block = Literal["default", "custom"] | None


@dataclass(frozen=True, kw_only=True)
class _Norm:
    eps: float = 1e-5


@dataclass(frozen=True, kw_only=True)
class _Activation:
    approximate: Literal["none", "tanh"] = "none"


@dataclass(frozen=True, kw_only=True)
class _Tokenizer:
    """Not trust_remote_code, nor any other argument of transformers'."""

    clean: Literal["canonicalize", "lower", "whitespace"] = "whitespace"
    strip_sep_token: bool = False
    language: str | None = None


@dataclass(frozen=True, kw_only=True)
class _Transformer:
    """What open_clip's image and text towers have in common."""

    mlp_ratio: float = 4.0
    ls_init_value: float | None = None
    final_ln_after_pool: bool = False
    output_tokens: bool = False
    act_kwargs: _Activation | None = None
    norm_kwargs: _Norm | None = None
    block_type: _Block = None
    qk_norm: bool = False
    scaled_cosine_attn: bool = False
    scale_heads: bool = False
    scale_attn_inner: bool = False
    scale_attn: bool = False
    scale_fc: bool = False


@dataclass(frozen=True, kw_only=True)
class Vision(_Transformer):
    """open_clip's CLIPVisionCfg."""

    layers: Any = 12
    width: int = 768
    head_width: int = 64
    patch_size: Any = 16
    image_size: Any = 224
    patch_dropout: float = 0.0
    attentional_pool: Any = False
    attn_pooler_queries: int = 256
    attn_pooler_heads: int = 8
    no_ln_pre: bool = False
    pos_embed_type: Literal["learnable", "sin_cos_2d"] = "learnable"
    pool_type: Literal["tok", "avg"] = "tok"
    timm_model_name: str | None = None
    timm_model_pretrained: bool = False
    timm_pool: str | None = "avg"
    timm_proj: Literal["linear", "mlp", "none", ""] | None = "linear"
    timm_proj_bias: bool = False
    timm_drop: float = 0.0
    timm_drop_path: float | None = None


@dataclass(frozen=True, kw_only=True)
class Text(_Transformer):
    """open_clip's CLIPTextCfg."""

    context_length: int = 77
    vocab_size: int = CLIP_WORDS
    hf_tokenizer_name: str | None = None
    tokenizer_mode: Literal["clips", ""] | None = None
    tokenizer_kwargs: _Tokenizer | None = None
    width: int = 512
    heads: int = 8
    layers: int = 12
    embed_cls: bool = False
    pad_id: int = 0
    eos_id: int = 2
    no_causal_mask: bool = False
    pool_type: Literal["argmax", "eos", "first", "last"] = "argmax"
    proj_bias: bool = False
    proj_type: Literal["linear", "none"] = "linear"
    hf_model_name: str | None = None
    hf_model_pretrained: bool = True
    hf_proj_type: Literal["linear", "mlp"] | None = "mlp"
    hf_pooler_type: Literal["mean_pooler", "max_pooler", "cls_pooler", "cls_last_hidden_state_pooler"] | None = (
        "mean_pooler"
    )


@dataclass(frozen=True, kw_only=True)
class Multimodal:
    """The decoder of a CoCa, which is built and not used."""

    context_length: int = 77
    vocab_size: int = CLIP_WORDS
    width: int = 512
    heads: int = 8
    layers: int = 12
    mlp_ratio: float = 4.0
    ls_init_value: float | None = None
    dim_head: int = 64
    n_queries: int = 256
    attn_pooler_heads: int = 8


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """open_clip's model_cfg."""

    embed_dim: int
    vision_cfg: Vision
    text_cfg: Text
    multimodal_cfg: Multimodal | None = None
    quick_gelu: bool = False
    custom_text: bool = False
    init_logit_scale: float = 0.0
    init_logit_bias: float | None = None
    nonscalar_logit_scale: bool = False


def check_architecture(model: dict[str, Any], where: str) -> None:
    """Raises InputError naming `where` (the file) and the key, unless `model` is a network that is built."""
    found = records.read(Architecture, model, where, "model_cfg.")
    _check(found, where, "model_cfg.")
    if found.vision_cfg.output_tokens and found.multimodal_cfg is None:
        raise records.wrong(
            where, "model_cfg.vision_cfg.output_tokens", "is True without a multimodal_cfg", "Leave it out."
        )


def fewest_parameters(model: dict[str, Any]) -> int:
    """What the network of a checked `model` has at least: its blocks and its words, where they are open_clip's own."""
    found = records.read(Architecture, model, "model_cfg")
    vision, text = found.vision_cfg, found.text_cfg
    count = 0
    if not vision.timm_model_name and isinstance(vision.layers, int):
        count += _in_blocks(vision.layers, vision.width, vision.mlp_ratio)
    if not text.hf_model_name:
        count += _in_blocks(text.layers, text.width, text.mlp_ratio) + text.vocab_size * text.width
    return count


def _in_blocks(layers: int, width: int, mlp_ratio: float) -> int:
    """Attention's four matrices and the two of its network."""
    return layers * width * (4 * width + 2 * int(width * mlp_ratio))


def check_vision(vision: dict[str, Any], where: str, prefix: str) -> None:
    """The same for a `vision_cfg` that stands alone."""
    _check(records.read(Vision, vision, where, prefix), where, prefix)


def _check(found: Any, where: str, prefix: str) -> None:
    """Ranges and names, all the way down."""
    for name in (field.name for field in fields(found)):
        value, key = getattr(found, name), prefix + name
        if is_dataclass(value):
            _check(value, where, f"{key}.")
        elif name == "attentional_pool":
            if value not in ("parallel", "cascade") and not isinstance(value, bool):
                raise records.wrong(where, key, f"is {value!r}", "Use one of: true, false, parallel, cascade.")
        elif name in _NAMES:
            if value is not None and not _NAMES[name].fullmatch(value):
                raise records.wrong(where, key, f"is {value!r}", "It has to be a name, without a source or a path.")
        elif name in _RANGES and not (value is None and name in ("patch_size", "init_logit_bias")):
            _check_numbers(value, name, isinstance(found, Vision), where, key)


def _check_numbers(value: Any, name: str, vision: bool, where: str, key: str) -> None:
    """One number, or as many as open_clip takes for it: two sides, the layers of a ResNet's four stages."""
    several = {"image_size": 2, "patch_size": 2, "layers": 4}.get(name, 0) if vision else 0
    numbers = value if isinstance(value, list) and len(value) == several else [value]
    least, most = _RANGES[name]
    whole = name in ("image_size", "patch_size", "layers")
    for number in numbers:
        sound = type(number) is int or (type(number) is float and not whole)
        if not sound or not least <= number <= most:
            kind = "a whole number" if whole else "a number"
            todo = f"It has to be {kind} from {least} to {most}{f', or {several} of them' if several else ''}."
            raise records.wrong(where, key, f"is {value!r}", todo)
