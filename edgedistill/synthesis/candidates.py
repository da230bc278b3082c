"""Prompts as they are drawn, and the guard that keeps, for every class alike, those that the teacher takes for it.

A way to write prompts (plain.py, mix.py, random_contexts.py, contrastive.py) draws candidates for the classes that it
is told, and may draw again for those that did not get through.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from ..classes.text_bank import TextBank, prompt_words
from ..labels import Labels
from ..teacher.unit import unit
from ..work.console import SILENT, Progress

if TYPE_CHECKING:
    from ..teacher.tower import Teacher

log = logging.getLogger(__name__)

ROUNDS = 20  # how often a prompt is drawn again that the teacher takes for another class; ours
AHEAD = 1e-6  # by which cosine a class must be ahead of every other: below it float32 cannot tell


@dataclass(frozen=True, eq=False)
class Subject:
    """What prompts are about: the classes as words, as the teacher's vectors, and the teacher that reads the words."""

    bank: TextBank
    teacher: Teacher
    labels: Labels
    progress: Progress = SILENT

    @cached_property
    def vectors(self) -> np.ndarray:
        """float32 [C, D], unit rows w_c: the mean of each class's prompts."""
        return self.bank.means()

    @cached_property
    def words(self) -> tuple[tuple[str, ...], ...]:
        """For each class its name, then its synonyms."""
        return tuple(prompt_words(label) for label in self.labels.entries)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes' names as they stand in a prompt."""
        return tuple(words[0] for words in self.words)


@dataclass(frozen=True, eq=False)
class Candidates:
    """n drawn prompts, with the fields of Prompts (prompts.py): targets float32 [n, D], shares float32 [n, C],
    texts and styles object [n] of str."""

    targets: np.ndarray
    shares: np.ndarray
    texts: np.ndarray
    styles: np.ndarray

    @classmethod
    def of(cls, targets: np.ndarray, shares: np.ndarray, texts: list[str], styles: list[str]) -> Candidates:
        """`targets` [n, D] of any length and float dtype."""
        words = (np.array(values, dtype=object) for values in (texts, styles))
        return cls(unit(targets).astype(np.float32), shares, *words)

    def put(self, rows: np.ndarray, better: Candidates, which: np.ndarray) -> None:
        """Rows `rows` become the rows `which` of `better`."""
        for field in dataclasses.fields(self):
            getattr(self, field.name)[rows] = getattr(better, field.name)[which]


class Way(Protocol):
    """One way to write prompts. `has_words`: its texts are what a text-to-image model may be given as they are;
    `guarded`: what it draws may be of no use, and can be drawn again."""

    has_words: ClassVar[bool]
    guarded: ClassVar[bool]

    def draw(self, classes: np.ndarray, random: np.random.Generator) -> Candidates:
        """One candidate for each row of `classes`, int64 [n], sorted."""
        ...


MakeWay = Callable[[Subject, np.random.Generator], Way]


def margins(targets: np.ndarray, classes: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """float [n]: ⟨e, w_c⟩ less the largest ⟨e, w_c'⟩ of the other classes; infinite where there is no other.

    targets [n, D], classes int64 [n], vectors [C, D]. Above 0 where the teacher takes a prompt for its class.
    """
    cosines = targets @ vectors.T
    rows = np.arange(len(classes))
    own = cosines[rows, classes]
    cosines[rows, classes] = -np.inf
    return own - cosines.max(axis=1)


def balanced(way: Way, count: int, subject: Subject, random: np.random.Generator) -> tuple[np.ndarray, Candidates]:
    """(classes int64 [C·count], sorted; as many candidates): `count` of every class, that the teacher takes for it.

    What it takes for another class is drawn again, at most ROUNDS times; then the one that came nearest stays, and a
    warning names the class. So do classes that have the same vector: no prompt can be of one rather than the other.
    """
    classes = np.repeat(np.arange(len(subject.labels)), count)
    kept = way.draw(classes, random)
    if not way.guarded:
        return classes, kept
    best = margins(kept.targets, classes, subject.vectors)
    for _ in range(ROUNDS):
        missing = np.flatnonzero(best <= AHEAD)
        if not len(missing):
            break
        drawn = way.draw(classes[missing], random)
        margin = margins(drawn.targets, classes[missing], subject.vectors)
        better = margin > best[missing]
        kept.put(missing[better], drawn, better)
        best[missing[better]] = margin[better]
    _warn(classes[best <= AHEAD], count, subject.labels)
    return classes, kept


def _warn(missed: np.ndarray, count: int, labels: Labels) -> None:
    """Of class numbers, one for each prompt that is not taken for its class."""
    numbers, times = np.unique(missed, return_counts=True)
    if not len(numbers):
        return
    worst = np.argsort(-times, kind="stable")[:5]
    log.warning(
        "the teacher takes prompts of %d of %d classes for another class: %s%s. Reword them, or add synonyms",
        len(numbers),
        len(labels),
        ", ".join(f"{labels.names[numbers[c]]!r} ({times[c]} of {count})" for c in worst),
        ", ..." if len(numbers) > len(worst) else "",
    )


def one_hot(classes: np.ndarray, count: int) -> np.ndarray:
    """float32 [n, count] of class numbers int64 [n]."""
    return np.eye(count, dtype=np.float32)[classes]


def turns(classes: np.ndarray) -> np.ndarray:
    """int64 [n]: how many rows of the same class come before each; `classes` is sorted."""
    return np.arange(len(classes)) - np.searchsorted(classes, classes)
