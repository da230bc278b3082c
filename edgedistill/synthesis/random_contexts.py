"""Random-Prompt (arXiv 2407.15155): only the class has a meaning. Our reading: its abstract alone is public to us.

    RandomTokens    e = E([t_1..t_4] {c}), t ~ N(mean, covariance) of the vocabulary's embeddings     the default
    RandomWords     e = E("tree lamp boat hat {c}"), of the generic nouns that are no class
    Noise           e = norm(w_c + σ·ε), ε ~ N(0, 1), σ·√D uniform in 0.3..0.6

E is the text tower, w_c the class's vector. Four tokens or words, and the nouns, are ours.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..classes.generic_nouns import nouns_beside
from ..classes.text_bank import read_texts
from .candidates import Candidates, Subject, one_hot
from .contexts import Contexts, TokenNormal
from .styles import fitting

LENGTH = 4  # tokens or words before the name
SPREADS = (0.3, 0.6)  # of Noise, how long the noise is beside a vector of length 1


class RandomTokens:
    """Four tokens before the name that are like the vocabulary's, and no word. Raises InputError as Contexts does."""

    has_words: ClassVar[bool] = False
    guarded: ClassVar[bool] = True

    def __init__(self, subject: Subject, random: np.random.Generator) -> None:
        self._names = subject.names
        self._contexts = Contexts(subject.teacher, self._names, LENGTH)
        self._tokens = TokenNormal(self._contexts.table)

    def draw(self, classes: np.ndarray, random: np.random.Generator) -> Candidates:
        return Candidates.of(
            self._contexts.read(self._tokens.draw(random, len(classes), LENGTH), classes),
            one_hot(classes, len(self._names)),
            [f"{self._names[c]} behind random tokens" for c in classes.tolist()],
            ["random tokens"] * len(classes),
        )


class RandomWords:
    """Four generic nouns before the name, or behind it where all are more than the tower reads."""

    has_words: ClassVar[bool] = True
    guarded: ClassVar[bool] = True

    def __init__(self, subject: Subject, random: np.random.Generator) -> None:
        self._subject = subject
        self._nouns = np.array(nouns_beside(subject.labels).names)

    def draw(self, classes: np.ndarray, random: np.random.Generator) -> Candidates:
        picks = random.integers(len(self._nouns), size=(len(classes), LENGTH))
        contexts = [" ".join(words) for words in self._nouns[picks]]
        names = [self._subject.names[c] for c in classes.tolist()]
        texts = [f"{context} {name}." for context, name in zip(contexts, names)]
        behind = [f"{name} {context}." for context, name in zip(contexts, names)]
        texts = fitting(self._subject, texts, behind)
        return Candidates.of(
            read_texts(self._subject.teacher, texts, self._subject.progress),
            one_hot(classes, len(self._subject.labels)),
            texts,
            contexts,
        )


class Noise:
    """The class's vector, shaken. No text tower runs."""

    has_words: ClassVar[bool] = False
    guarded: ClassVar[bool] = True

    def __init__(self, subject: Subject, random: np.random.Generator) -> None:
        self._subject = subject

    def draw(self, classes: np.ndarray, random: np.random.Generator) -> Candidates:
        vectors = self._subject.vectors.astype(np.float64)
        spread = random.uniform(*SPREADS, len(classes))
        noise = random.normal(size=(len(classes), vectors.shape[1])) / np.sqrt(vectors.shape[1])
        looks = [f"noise {much:.2f}" for much in spread]
        names = self._subject.names
        return Candidates.of(
            vectors[classes] + spread[:, None] * noise,
            one_hot(classes, len(names)),
            [f"{names[c]}, {look}" for c, look in zip(classes.tolist(), looks)],
            looks,
        )
