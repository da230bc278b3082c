"""PromptKD's own student: the image tower of a CLIP, frozen, steered by a few tokens that learn.

PromptKD (arXiv 2403.02781, section 3) trains visual prompts and a projector and leaves the ViT-B/16 of CLIP as it is:
4 tokens at each of the first 9 layers (teacher/deep_prompts.py). Its ablation puts this ahead of training all weights.
It is here to reproduce that paper; a tower of 86 million weights is no small student.

The tokens begin as normal numbers of spread 0.02 (our choice: the paper is silent).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .. import records
from ..errors import InputError
from ..teacher.architecture import check_vision
from ..teacher.deep_prompts import image_features, takes_prompts
from ..teacher.files import TeacherFiles
from ..teacher.torchvision_ops import ensure_torchvision
from .student_card import PROMPTED

ensure_torchvision()
import open_clip  # noqa: E402
from open_clip.transformer import VisionTransformer  # noqa: E402

DEFAULT_TOWER = "ViT-B-16/openai"
TOKENS, DEPTH = 4, 9
MOST_TOKENS, WIDEST = 1024, 65536
SPREAD = 0.02
# open_clip builds an image tower together with a text tower alone; this one costs nothing and is thrown away.
_LEAST_TEXT = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}


@dataclass(frozen=True, kw_only=True)
class TowerShape:
    """The kwargs of a prompted student, as student.json has them: enough to build it where its CLIP is not at hand.

    `vision_cfg`, `embed_dim`, `quick_gelu`: open_clip's. `tokens` at each of the first `depth` layers; 0 layers leave
    the projector alone to learn, which is a line of the paper's ablation.
    """

    vision_cfg: dict[str, Any]
    embed_dim: int
    quick_gelu: bool = False
    tokens: int = TOKENS
    depth: int = DEPTH

    @classmethod
    def of(cls, files: TeacherFiles) -> TowerShape:
        """The paper's tokens on the tower of this CLIP; all layers have them where it has fewer than 9.

        Raises InputError where that is no vision transformer of open_clip's own.
        """
        architecture = files.architecture
        vision = architecture["vision_cfg"]
        layers = vision.get("layers", 12)
        if vision.get("timm_model_name") or not isinstance(layers, int):
            raise InputError(
                f"the image tower of {files.id} takes no prompt tokens: it is not open_clip's vision transformer",
                f"Name another CLIP with --student-weights; {DEFAULT_TOWER} is the paper's.",
            )
        return cls(
            vision_cfg=vision,
            embed_dim=architecture["embed_dim"],
            quick_gelu=bool(architecture.get("quick_gelu", False)),
            depth=min(DEPTH, layers),
        )


class PromptedTower(nn.Module):
    """float32 [N,3,S,S] normalised pixels -> [N,d], the feature as CLIP's projection gives it, not normalised.

    `tower` never changes: its weights take no gradient (`freeze`), and it stays in eval mode, so that a tower made with
    patch dropout has none. `tokens` [layers, tokens, width] is all that learns. `pretrained_cfg` is what timm's
    networks say of themselves: CLIP's mean and std, and the one input size that its position embedding is made for.
    """

    def __init__(self, tower: VisionTransformer, tokens: int, depth: int) -> None:
        super().__init__()
        self.tower = tower
        self.size = int(tower.image_size[0])
        self.tokens = nn.Parameter(SPREAD * torch.randn(depth, tokens, tower.transformer.width))
        self.pretrained_cfg = {
            "mean": open_clip.OPENAI_DATASET_MEAN,
            "std": open_clip.OPENAI_DATASET_STD,
            "input_size": (3, self.size, self.size),
        }
        self.freeze()
        self.train()

    def freeze(self) -> None:
        self.tower.requires_grad_(False)

    def train(self, mode: bool = True) -> PromptedTower:
        super().train(mode)
        self.tower.eval()
        return self

    def forward(self, pixels: Tensor) -> Tensor:
        """Raises ValueError for another size than the tower's own."""
        if tuple(pixels.shape[2:]) != (self.size, self.size):
            raise ValueError(f"its positions are of {self.size} px images")
        return image_features(self.tower, pixels, self.tokens)


def prompted_tower(kwargs: dict[str, Any], state: dict[str, Tensor] | None = None) -> PromptedTower:
    """The tower that a student's kwargs (`TowerShape`) describe, tokens drawn from torch's random state.

    `state` is a whole CLIP's, of which `visual.*` is used; without it the weights are random, to be loaded over. Raises
    InputError for kwargs that describe no such tower, and RuntimeError where `state` does not fit.
    """
    shape = records.read(TowerShape, kwargs, PROMPTED, "kwargs.")
    check_vision(shape.vision_cfg, PROMPTED, "kwargs.vision_cfg.")
    for name, value, most in (("embed_dim", shape.embed_dim, WIDEST), ("tokens", shape.tokens, MOST_TOKENS)):
        if not 1 <= value <= most:
            raise records.wrong(PROMPTED, f"kwargs.{name}", f"is {value}", f"It has to be from 1 to {most}.")
    layers = shape.vision_cfg.get("layers", 12)
    if not isinstance(layers, int) or not 0 <= shape.depth <= layers:
        raise InputError(
            f"{PROMPTED}: {shape.tokens} tokens at {shape.depth} of {layers} layers",
            "Use at most as many layers as the tower has.",
        )
    if shape.vision_cfg.get("timm_model_name"):  # open_clip might fetch it
        raise InputError(f"{PROMPTED}: kwargs name a tower of timm's", "Take a student as edgedistill wrote it.")
    try:
        tower = open_clip.CLIP(shape.embed_dim, shape.vision_cfg, dict(_LEAST_TEXT), quick_gelu=shape.quick_gelu).visual
    except (TypeError, ValueError, AssertionError, ArithmeticError, LookupError, AttributeError, RuntimeError) as error:
        raise InputError(
            f"open_clip cannot build the tower of {PROMPTED}: {error}", "Take a student as edgedistill wrote it."
        ) from error
    if not takes_prompts(tower.transformer):
        raise InputError(
            f"{PROMPTED}: the tower is not made of open_clip's plain blocks",
            f"Name another CLIP with --student-weights; {DEFAULT_TOWER} is the paper's.",
        )
    if state is not None:
        prefix = "visual."
        tower.load_state_dict({k.removeprefix(prefix): v.float() for k, v in state.items() if k.startswith(prefix)})
    return PromptedTower(tower, shape.tokens, shape.depth)
