"""The build's own templates, one after the other: the baseline that a diversifier has to beat."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from .candidates import Candidates, Subject, one_hot, turns


class Plain:
    """The n-th image of a class shows its template n mod P; the words are the name's, then those of each synonym."""

    has_words: ClassVar[bool] = True
    guarded: ClassVar[bool] = False

    def __init__(self, subject: Subject, random: np.random.Generator) -> None:
        self._bank = subject.bank

    def draw(self, classes: np.ndarray, random: np.random.Generator) -> Candidates:
        bank, turn = self._bank, turns(classes)
        templates = bank.vectors.shape[1]
        return Candidates.of(
            bank.vectors[classes, turn % templates],
            one_hot(classes, len(bank.names)),
            [self._text(c, n % templates, n // templates) for c, n in zip(classes.tolist(), turn.tolist())],
            [""] * len(classes),
        )

    def _text(self, label: int, template: int, synonym: int) -> str:
        prompts = self._bank.prompts[label]
        words = len(prompts) // self._bank.vectors.shape[1]
        return prompts[template * words + synonym % words]
