"""Mix-Prompt (arXiv 2407.15155): prompts between styles. Our reading: its abstract alone is public to us.

With "a {style} of a {c}" for a class c in a style, E the text tower, and λ drawn from a Dirichlet of 0.5 over two to
four of the forty styles:

    MixedStyles    e = norm(Σ_k λ_k·E("a {style_k} of a {c}"))                     the default
    MixedTokens    e = E("a {Σ_k λ_k·style_k} of a {c}"), mixed before the tower
    MixedClasses   e = norm(λ·E("a {style} of a {c}") + (1 − λ)·E("a {style} of a {c'}")), and labels alike

Small λ are common: most mixtures lean on one style. The number of styles, the words and the 0.5 are ours.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from .candidates import Candidates, Subject, one_hot
from .contexts import Contexts
from .styles import STYLES, StyledClasses

NAMES = tuple(STYLES)
FEWEST, MOST = 2, 4  # styles in a mixture
CONCENTRATION = 0.5


def mixtures(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(int64 [count, 4] numbers of different styles, float64 [count, 4] their shares λ).

    Where fewer than four are taken, the first fills up with shares of 0: so that no other has to be read.
    """
    styles = np.argsort(random.random((count, len(NAMES))), axis=1)[:, :MOST]
    taken = np.arange(MOST) < random.integers(FEWEST, MOST + 1, count)[:, None]
    parts = random.gamma(CONCENTRATION, size=(count, MOST)) * taken
    return np.where(taken, styles, styles[:, :1]), parts / parts.sum(axis=1, keepdims=True)


def described(styles: np.ndarray, shares: np.ndarray) -> str:
    """ "photo 0.6 + toy 0.4", the largest share first; those below 0.05 are left out."""
    order = np.argsort(-shares, kind="stable")
    return " + ".join(f"{NAMES[styles[k]]} {shares[k]:.1f}" for k in order if shares[k] >= 0.05)


class MixedStyles:
    """Several styles of one class, mixed behind the text tower."""

    has_words: ClassVar[bool] = False
    guarded: ClassVar[bool] = True

    def __init__(self, subject: Subject, random: np.random.Generator) -> None:
        self._subject = subject
        self._styled = StyledClasses(subject)

    def draw(self, classes: np.ndarray, random: np.random.Generator) -> Candidates:
        styles, shares = mixtures(len(classes), random)
        targets = mixed(self._styled.vectors(styles, classes[:, None]), shares)
        looks = [described(*row) for row in zip(styles, shares)]
        names = self._subject.names
        texts = [f"{look} of a {names[c]}" for look, c in zip(looks, classes.tolist())]
        return Candidates.of(targets, one_hot(classes, len(names)), texts, looks)


def mixed(parents: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """float64 [n, D], unit rows: norm(Σ_k λ_k·parent_k) of parents [n, k, D] and λ [n, k]."""
    sums = np.einsum("nkd,nk->nd", parents.astype(np.float64), shares)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True)


class MixedTokens:
    """Several styles of one class, mixed before the text tower, which reads "a ? of a {name}" with the mixture for ?.

    A style is the mean embedding of its name's tokens. Raises InputError as Contexts does.
    """

    has_words: ClassVar[bool] = False
    guarded: ClassVar[bool] = True

    def __init__(self, subject: Subject, random: np.random.Generator) -> None:
        self._names = subject.names
        self._contexts = Contexts(subject.teacher, self._names, length=4)
        self._styles, self._around = (self._contexts.mean_tokens(words) for words in (NAMES, ("a", "of", "a")))

    def draw(self, classes: np.ndarray, random: np.random.Generator) -> Candidates:
        styles, shares = mixtures(len(classes), random)
        looks = [described(*row) for row in zip(styles, shares)]
        parents = self._styles[styles]  # [n, 4, width]
        look = torch.einsum("nkw,nk->nw", parents, torch.from_numpy(shares).to(parents))
        a, of, another = self._around.expand(len(classes), -1, -1).unbind(dim=1)
        return Candidates.of(
            self._contexts.read(torch.stack([a, look, of, another], dim=1), classes),
            one_hot(classes, len(self._names)),
            [f"{look} of a {self._names[c]}" for look, c in zip(looks, classes.tolist())],
            looks,
        )


class MixedClasses:
    """Two classes in one style; the larger share is the prompt's class. One class alone stays unmixed."""

    has_words: ClassVar[bool] = False
    guarded: ClassVar[bool] = True

    def __init__(self, subject: Subject, random: np.random.Generator) -> None:
        self._subject = subject
        self._styled = StyledClasses(subject)

    def draw(self, classes: np.ndarray, random: np.random.Generator) -> Candidates:
        names = self._subject.names
        styles = random.integers(len(NAMES), size=len(classes))
        others = (classes + random.integers(1, max(len(names), 2), len(classes))) % len(names)
        share = random.dirichlet([CONCENTRATION] * 2, len(classes)).max(axis=1)
        pairs, shares = np.stack([classes, others], axis=1), np.stack([share, 1 - share], axis=1)
        targets = mixed(self._styled.vectors(styles[:, None], pairs), shares)
        counted = np.einsum("nk,nkc->nc", shares, one_hot(pairs, len(names))).astype(np.float32)
        looks = [NAMES[k] for k in styles]
        texts = [
            f"{look} of {names[c]} {part:.1f} + {names[other]} {1 - part:.1f}"
            for look, (c, other), part in zip(looks, pairs.tolist(), share)
        ]
        return Candidates.of(targets, counted, texts, looks)
