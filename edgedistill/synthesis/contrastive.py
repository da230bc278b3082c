"""Contrastive-Prompt (arXiv 2407.15155): styles that learn to differ. Our reading: its abstract alone is public to us.

Four tokens a style learn before the class names, K styles S [K,L,width] under the frozen text tower E. With e_kc =
E([S_k] {c}), the class vectors w_c, and the style's own part e_k = norm(mean_c(e_kc − w_c)):

    L = apart(e)  +  β·mean_kc CE(s·e_kc·Wᵀ, c)  +  ρ·‖S − nearest vocabulary‖²

The first part drives the styles apart, the second holds the class, the third stays near tokens that the tower knows:

    spread        (1/K) Σ_k log Σ_{j≠k} exp(⟨e_k, e_j⟩/τ)            the default
    orthogonal    mean_{j≠k} |⟨e_k, e_j⟩|/τ
    in_turn       the first, but k looks at the earlier styles alone, and they do not give way

With `in_turn` all styles learn at once, and the result is that of learning them one after the other, since none
depends on a later one. Besides the formulas these are ours: at most four classes a step, drawn anew (their text
features are the whole cost); the nearest tokens are looked up every tenth step; styles start as random tokens; what was
learned is checked.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import InputError
from ..work.console import SILENT, Progress
from .candidates import AHEAD, Candidates, Subject, margins, one_hot, turns
from .contexts import Contexts, TokenNormal
from .pace import Pace, wait_for

log = logging.getLogger(__name__)

LOOK_UP_EVERY = 10
TRIES = 3
COLLAPSED = 0.5  # mean cosine of the styles' own parts: from here on they are one style
KEPT = 0.5  # share of styles and classes that the teacher must still take for the class


class Reader(Protocol):
    """The frozen tower behind the tokens; Contexts is one."""

    table: Tensor

    def features(self, context: Tensor, classes: Tensor) -> Tensor: ...


def spread(parts: Tensor, tau: float) -> Tensor:
    """The mean log-sum-exp of each style's cosines to the others; parts [K, D], unit rows."""
    return _log_sum(parts @ parts.T / tau, ~_diagonal(parts)).mean()


def orthogonal(parts: Tensor, tau: float) -> Tensor:
    """The mean of the cosines' absolute values; over τ, too, so that it pulls as hard as the others beside L's rest."""
    return (parts @ parts.T)[~_diagonal(parts)].abs().mean() / tau


def in_turn(parts: Tensor, tau: float) -> Tensor:
    """`spread` against the earlier styles, which get no gradient; the first has none and is left out."""
    earlier = torch.ones_like(parts @ parts.T, dtype=torch.bool).tril(-1)
    return _log_sum((parts @ parts.detach().T / tau)[1:], earlier[1:]).mean()


def _log_sum(logits: Tensor, among: Tensor) -> Tensor:
    return logits.masked_fill(~among, -torch.inf).logsumexp(dim=1)


def _diagonal(parts: Tensor) -> Tensor:
    return torch.eye(len(parts), dtype=torch.bool, device=parts.device)


@dataclass(frozen=True, kw_only=True)
class StyleRecipe:
    """How styles learn: L's weights, and Adam's steps. `styles` is K, at least 2; `length` L tokens each."""

    apart: Callable[[Tensor, float], Tensor] = spread
    styles: int = 32
    length: int = 4
    classes: int = 4
    steps: int = 500
    lr: float = 2e-3
    tau: float = 0.1
    beta: float = 1.0
    rho: float = 0.01


def style_parts(features: Tensor, own: Tensor) -> Tensor:
    """[K, D], unit rows: what a style adds to any class; features e_kc [K, B, D], own w_c [B, D]."""
    return F.normalize((features - own).mean(dim=1), dim=-1)


def losses(
    features: Tensor, classes: Tensor, vectors: Tensor, scale: float, off: Tensor, recipe: StyleRecipe
) -> dict[str, Tensor]:
    """Parts `apart`, `class`, `tokens`, already weighted, and `total`.

    features [K, B, D] of classes int64 [B]; vectors [C, D] are all classes'; off [K, L, width] is S less the nearest
    vocabulary.
    """
    logits = scale * features @ vectors.T
    parts = {
        "apart": recipe.apart(style_parts(features, vectors[classes]), recipe.tau),
        "class": recipe.beta * F.cross_entropy(logits.flatten(0, 1), classes.repeat(len(features))),
        "tokens": recipe.rho * off.square().sum(),
    }
    return {"total": torch.stack(list(parts.values())).sum(), **parts}


def nearest(styles: Tensor, table: Tensor) -> Tensor:
    """The vocabulary's embedding next to each token of styles [K, L, width]."""
    with torch.no_grad():
        return table[torch.cdist(styles.flatten(0, 1), table).argmin(dim=1)].view_as(styles)


def all_pairs(reader: Reader, styles: Tensor, classes: Tensor) -> Tensor:
    """[K, B, D]: every style [K, L, width] before every class of int64 [B], in one pass."""
    context = styles.repeat_interleave(len(classes), dim=0)
    return reader.features(context, classes.repeat(len(styles))).view(len(styles), len(classes), -1)


def learned(
    reader: Reader,
    vectors: Tensor,
    scale: float,
    recipe: StyleRecipe,
    random: np.random.Generator,
    progress: Progress = SILENT,
) -> Tensor:
    """S [K, L, width] where L is small; vectors [C, D], unit, and `scale` are the teacher's, of the reader's dtype."""
    styles = TokenNormal(reader.table).draw(random, recipe.styles, recipe.length).requires_grad_()
    near = styles.detach()
    optimiser = torch.optim.Adam([styles], recipe.lr)
    pace = Pace("styles to learn", recipe.styles, progress)
    progress.start("styles", recipe.styles)
    pace.begin(recipe.styles)
    for step in range(recipe.steps):
        if step % LOOK_UP_EVERY == 0:
            near = nearest(styles, reader.table)
        drawn = random.choice(len(vectors), min(len(vectors), recipe.classes), replace=False)
        classes = torch.from_numpy(drawn).to(vectors.device)
        features = all_pairs(reader, styles, classes)
        optimiser.zero_grad(set_to_none=True)
        losses(features, classes, vectors, scale, styles - near, recipe)["total"].backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        wait_for(styles.device, step + 1)
        pace.stepped(step + 1, recipe.steps)
    progress.done()
    return styles.detach()


@dataclass(frozen=True, eq=False)
class Learned:
    """What was learned: features float32 [K, C, D] of every style and class, and whether it is of use.

    `kept`: bool [K, C], whether the teacher takes each for its class. `cosine`: the mean of two styles' own parts.
    """

    features: np.ndarray
    kept: np.ndarray
    cosine: float

    @classmethod
    def of(cls, features: np.ndarray, vectors: np.ndarray) -> Learned:
        styles, count, dim = features.shape
        ahead = margins(features.reshape(-1, dim), np.tile(np.arange(count), styles), vectors) > AHEAD
        parts = style_parts(torch.from_numpy(features), torch.from_numpy(vectors)).numpy()
        cosine = (float(np.square(parts.sum(axis=0)).sum()) - styles) / (styles * (styles - 1))
        return cls(features, ahead.reshape(styles, count), cosine)

    def problem(self, vectors: np.ndarray) -> str | None:
        """Why it is of no use, or None. Classes that even their own vectors [C, D] are not taken for don't count."""
        told = margins(vectors, np.arange(len(vectors)), vectors) > AHEAD
        share = self.kept[:, told].mean() if told.any() else 1.0
        if self.cosine >= COLLAPSED:
            return f"the learned styles are all but one style (mean cosine {self.cosine:.2f})"
        if share < KEPT:
            return f"the learned styles lose the class: the teacher takes {100 * share:.0f} % of them for theirs"
        return None


class LearnedStyles:
    """A class in each learned style that keeps it, in an order of its own; a class with none stays with all.

    Raises InputError where three tries ended in styles that are alike or lose the class.
    """

    has_words: ClassVar[bool] = False
    guarded: ClassVar[bool] = True
    recipe: ClassVar[StyleRecipe] = StyleRecipe()

    def __init__(self, subject: Subject, random: np.random.Generator) -> None:
        self._subject = subject
        contexts = Contexts(subject.teacher, subject.names, self.recipe.length)
        for _ in range(TRIES):
            self._found = self._learned(contexts, random)
            problem = self._found.problem(subject.vectors)
            if problem is None:
                return
            log.info("%s: not used", problem)
        raise InputError(
            f"{problem}, in {TRIES} tries", "Use --diversify mix, or reword the classes that the teacher mixes up."
        )

    def _learned(self, contexts: Contexts, random: np.random.Generator) -> Learned:
        vectors = self._subject.vectors
        frozen = torch.from_numpy(vectors).to(contexts.table.device)
        bank = self._subject.bank
        styles = learned(contexts, frozen, bank.scale, self.recipe, random, self._subject.progress)
        pairs = styles.repeat_interleave(len(vectors), dim=0)
        read = contexts.read(pairs, np.tile(np.arange(len(vectors)), len(styles)))
        found = Learned.of(read.reshape(len(styles), *vectors.shape), vectors)
        log.info(
            "%d styles learned: mean cosine %.2f, %.0f %% keep their class",
            len(styles),
            found.cosine,
            100 * found.kept.mean(),
        )
        return found

    def draw(self, classes: np.ndarray, random: np.random.Generator) -> Candidates:
        kept, names = self._found.kept.T, self._subject.names
        order = np.argsort(random.random(kept.shape) + ~kept, axis=1)  # those that keep the class come first
        usable = np.where(kept.any(axis=1), kept.sum(axis=1), kept.shape[1])
        picks = order[classes, turns(classes) % usable[classes]]
        looks = [f"learned style {k + 1}" for k in picks]
        return Candidates.of(
            self._found.features[picks, classes],
            one_hot(classes, len(names)),
            [f"a {names[c]} in {look}" for c, look in zip(classes.tolist(), looks)],
            looks,
        )


class OrthogonalStyles(LearnedStyles):
    recipe: ClassVar[StyleRecipe] = StyleRecipe(apart=orthogonal)


class StylesInTurn(LearnedStyles):
    recipe: ClassVar[StyleRecipe] = StyleRecipe(apart=in_turn)
