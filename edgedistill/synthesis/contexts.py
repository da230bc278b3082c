"""Class names behind a context of token embeddings that need not be words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from ..teacher.text_tower import TextTower

if TYPE_CHECKING:
    from ..teacher.tower import Teacher

PLACE = "x"  # one token in CLIP's vocabulary
_TEXTS_A_PASS = 256


class Contexts:
    """Reads `[t_1]..[t_L] {name}` for every class; `table` [V, width] are the vocabulary's own embeddings.

    The name is kept whole: where it leaves room for fewer than `length` tokens, the first of them are left out, and a
    name that fills the tower alone is the same in every context. Raises InputError for a tower or a tokeniser that are
    not of CLIP's kind.
    """

    def __init__(self, teacher: Teacher, names: Sequence[str], length: int) -> None:
        self._teacher, self._tower = teacher, TextTower(teacher)
        self.table = self._tower.table
        room = (self._tower.length - self._tower.lengths(teacher.tokens(names))).clamp(0, length)
        ids = teacher.tokens([f"{PLACE} " * tokens + name for tokens, name in zip(room.tolist(), names)])
        self._ids = ids[:, : int(self._tower.lengths(ids).max())]
        place = torch.arange(self._ids.shape[1], device=ids.device)[None]
        self._inside = (place > 0) & (place <= room[:, None])  # behind the start token
        if bool((self._ids[self._inside] != teacher.tokens([PLACE])[0, 1]).any()):
            raise InputError(
                f"the tokeniser of {teacher.id} puts no start token before a text, as CLIP's does",
                "Use --diversify mix or random-words, or a CLIP of the kind ViT-B-16.",
            )
        self._token = (place - 1 + length - room[:, None]) * self._inside
        self._words = self.table[self._ids]

    def features(self, context: Tensor, classes: Tensor) -> Tensor:
        """[n, D], unit rows, of context [n, L, width] and classes int64 [n]; differentiable."""
        token = self._token[classes][..., None].expand(-1, -1, context.shape[2])
        embedded = torch.where(self._inside[classes][..., None], context.gather(1, token), self._words[classes])
        return self._tower.features(self._ids[classes], embedded)

    def read(self, context: Tensor, classes: np.ndarray) -> np.ndarray:
        """The same without gradients, float32 [n, D], in passes. Raises InputError where a value is not finite."""
        numbers = torch.from_numpy(classes).to(context.device)
        with torch.inference_mode():
            passes = [self.features(*part) for part in zip(context.split(_TEXTS_A_PASS), numbers.split(_TEXTS_A_PASS))]
        return self._teacher.finite(torch.cat(passes).cpu().numpy(), "text")

    def mean_tokens(self, texts: Sequence[str]) -> Tensor:
        """float32 [n, width]: the mean embedding of each text's tokens, start and end aside."""
        ids = self._teacher.tokens(texts)
        place = torch.arange(ids.shape[1], device=ids.device)[None]
        inside = (place > 0) & (place < self._tower.lengths(ids)[:, None] - 1)
        return (self.table[ids] * inside[..., None]).sum(dim=1) / inside.sum(dim=1, keepdim=True)


class TokenNormal:
    """A normal distribution with the mean and covariance of a vocabulary's embeddings [V, width]."""

    def __init__(self, table: Tensor) -> None:
        self._mean = table.mean(dim=0)
        values, axes = torch.linalg.eigh(torch.cov(table.T).double())
        # The symmetric root: unlike a factor of the covariance it does not depend on the signs of the axes.
        self._root = ((axes * values.clamp_min(0).sqrt()) @ axes.T).to(table.dtype)

    def draw(self, random: np.random.Generator, *shape: int) -> Tensor:
        """[*shape, width] of the table's dtype and device."""
        normal = random.normal(size=(*shape, len(self._mean)))
        return self._mean + torch.from_numpy(normal).to(self._root) @ self._root
