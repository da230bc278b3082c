"""A teacher's text tower, entered behind its token embeddings: what stands for a word may be no word, and may learn.

The tower itself never changes; gradients pass through it to the embeddings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from .deep_prompts import text_end
from .torchvision_ops import ensure_torchvision

ensure_torchvision()
import open_clip  # noqa: E402
from open_clip.transformer import TextTransformer  # noqa: E402

if TYPE_CHECKING:
    from .tower import Teacher


class TextTower:
    """`table`: float32 [V, width], every token's embedding; `length`: the most tokens that it reads.

    Raises InputError where the tower is not open_clip's causal transformer, read at its end token: in another one, what
    is behind the end counts, too, and this one leaves it out, which saves most of the work.
    """

    def __init__(self, teacher: Teacher) -> None:
        self._padding = int(teacher.tokens([""])[0, -1])  # first: it says so where the text tower is gone
        tower = getattr(teacher.model, "text", teacher.model)
        whole = type(tower) is open_clip.CLIP
        self._pool = getattr(tower, "text_pool_type" if whole else "pool_type", "none")
        self._end = getattr(tower, "text_eos_id" if whole else "eos_id", 0)
        known = (whole or type(tower) is TextTransformer) and self._pool in ("argmax", "eos")
        if not known or tower.attn_mask is None or getattr(tower, "cls_emb", None) is not None:
            raise InputError(
                f"the text tower of {teacher.id} takes no token embeddings: it is not CLIP's plain transformer",
                "Use --diversify mix or random-words, or a CLIP of the kind ViT-B-16.",
            )
        self._tower = tower
        self.table: Tensor = tower.token_embedding.weight
        self.length = int(tower.context_length)

    def lengths(self, ids: Tensor) -> Tensor:
        """int64 [n]: tokens of each row of ids [n, L], start and end counted, padding not."""
        return ids.shape[1] - (ids != self._padding).flip(1).int().argmax(dim=1)

    def features(self, ids: Tensor, embedded: Tensor) -> Tensor:
        """[n, D], unit rows, of texts of T tokens: int64 ids [n, T], which say where each ends; embedded [n, T, width].

        T may be less than the tower's length: its attention is causal.
        """
        length = ids.shape[1]
        x = embedded + self._tower.positional_embedding[:length]
        x = self._tower.transformer(x, attn_mask=self._tower.attn_mask[:length, :length])
        return F.normalize(text_end(self._tower, x, ids, self._pool, self._end), dim=-1)
