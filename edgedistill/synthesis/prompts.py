"""What images are to show: `count` prompts a class, written in one of eleven ways, as targets in the teacher's space.

A prompt is read once by the text tower. An engine that optimises images needs its target alone; one that takes words
needs its text.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..classes.tensor_file import damaged, read_tensors, write_tensors
from ..classes.text_bank import TextBank
from ..labels import Labels
from ..work.console import SILENT, Progress
from .candidates import MakeWay, Subject, balanced
from .contrastive import LearnedStyles, OrthogonalStyles, StylesInTurn
from .diversity import diversity
from .mix import MixedClasses, MixedStyles, MixedTokens
from .plain import Plain
from .random_contexts import Noise, RandomTokens, RandomWords
from .styles import StyledWords

if TYPE_CHECKING:
    from ..teacher.tower import Teacher

log = logging.getLogger(__name__)

PROMPTS_FILE = "image_prompts.safetensors"

WAYS: dict[str, MakeWay] = {
    "plain": Plain,
    "styles": StyledWords,
    "mix": MixedStyles,
    "mix-tokens": MixedTokens,
    "mix-classes": MixedClasses,
    "random": RandomTokens,
    "random-words": RandomWords,
    "random-noise": Noise,
    "contrastive": LearnedStyles,
    "contrastive-orthogonal": OrthogonalStyles,
    "contrastive-in-turn": StylesInTurn,
}
"""Plain templates, styles in words, then Mix-Prompt, Random-Prompt and Contrastive-Prompt with the forms of each."""


@dataclass(frozen=True, eq=False)
class Prompts:
    """What images are to show, one row an image. Rows of a class stand together, as many of each."""

    texts: tuple[str, ...]
    """N: the words; for what has no words a short description ("photo 0.6 + toy 0.4 of a gear")."""
    classes: np.ndarray
    """int64 [N]: the prompt's class, an index of the labels."""
    targets: np.ndarray
    """float32 [N, D], unit rows: where the image shall lie in the teacher's space."""
    shares: np.ndarray
    """float32 [N, C], rows sum to 1: one-hot, but where two classes are mixed."""
    style: tuple[str, ...]
    """N: a name of the style or context, "" for plain templates."""
    has_words: bool
    """Whether `texts` can be given to a text-to-image pipeline as they are."""

    def save(self, folder: Path) -> None:
        """Writes image_prompts.safetensors into `folder`; same prompts, same bytes."""
        tensors = {"classes": self.classes, "targets": self.targets, "shares": self.shares}
        description = {"texts": self.texts, "style": self.style, "has_words": self.has_words}
        write_tensors(folder / PROMPTS_FILE, tensors, description)

    @classmethod
    def load(cls, folder: Path) -> Prompts:
        """Reads what `save` wrote. Raises InputError if it is damaged."""
        path = folder / PROMPTS_FILE
        tensors, read = read_tensors(path, {"classes": 1, "targets": 2, "shares": 2})
        try:
            texts, style = tuple(read["texts"]), tuple(read["style"])
            prompts = cls(texts=texts, style=style, has_words=bool(read["has_words"]), **tensors)
        except (KeyError, TypeError) as error:
            raise damaged(path, error) from error
        if len({len(texts), len(style), *map(len, tensors.values())}) != 1:
            raise damaged(path, f"{len(texts)} texts do not fit {len(prompts.classes)} classes or their targets")
        return prompts


def diversified(
    way: str,
    count: int,
    bank: TextBank,
    teacher: Teacher,
    labels: Labels,
    seed: int,
    progress: Progress = SILENT,
) -> Prompts:
    """`count` prompts, one or more, for each class of `labels`; `bank` holds these classes, read by this `teacher`.

    `way` is a key of WAYS. A prompt that the teacher takes for another class is drawn again (candidates.py: and what
    becomes of classes that never get through); plain templates stay as they are. The list may hold one class alone. The
    teacher must still have its text tower. Same arguments and threads on a CPU, same prompts.
    """
    random = np.random.default_rng([seed, 7])
    subject = Subject(bank, teacher, labels, progress)
    source = WAYS[way](subject, random)
    classes, drawn = balanced(source, count, subject, random)
    log.info("prompts (%s): %s", way, diversity(drawn.targets, classes, subject.vectors))
    return Prompts(
        texts=tuple(drawn.texts),
        classes=classes,
        targets=drawn.targets,
        shares=drawn.shares,
        style=tuple(drawn.styles),
        has_words=source.has_words,
    )
