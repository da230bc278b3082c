"""Forty styles in words, and how a class is named in one of them. The list is ours.

They are looks that one and the same thing can have: media, weather and light, distance and angle, how a camera fails.
None of them names another thing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from ..classes.text_bank import read_texts
from .candidates import Candidates, Subject, one_hot, turns

STYLES: dict[str, str] = {
    "photo": "a photo of a {}.",
    "close-up": "a close-up of a {}.",
    "distance": "a {} seen from a distance.",
    "above": "a {} seen from above.",
    "below": "a {} seen from below.",
    "side": "a side view of a {}.",
    "macro": "a macro photo of a {}.",
    "snapshot": "a snapshot of a {}.",
    "catalogue": "a catalogue picture of a {} on a white background.",
    "black background": "a {} on a black background.",
    "crowd": "a {} among many other things.",
    "part": "a part of a {}.",
    "hand": "a {} held in a hand.",
    "indoors": "a {} indoors.",
    "outdoors": "a {} outdoors.",
    "street": "a {} on the street.",
    "night": "a {} at night.",
    "fog": "a {} in fog.",
    "rain": "a {} in the rain.",
    "snow": "a {} in the snow.",
    "sunlight": "a {} in bright sunlight.",
    "backlight": "a {} against the light.",
    "neon": "a {} in neon light.",
    "shadow": "a {} half in shadow.",
    "blur": "a blurry photo of a {}.",
    "dark": "a photo of a {} that is too dark.",
    "noise": "a grainy photo of a {}.",
    "screen": "a low-resolution image of a {}.",
    "black and white": "a black and white photo of a {}.",
    "old": "an old, worn {}.",
    "dirty": "a dirty {}.",
    "sketch": "a pencil sketch of a {}.",
    "line": "a line drawing of a {}.",
    "clip art": "clip art of a {}.",
    "cartoon": "a cartoon of a {}.",
    "painting": "an oil painting of a {}.",
    "watercolour": "a watercolour of a {}.",
    "toy": "a toy {}.",
    "origami": "an origami {}.",
    "render": "a 3D rendering of a {}.",
}


def fitting(subject: Subject, texts: Sequence[str], name_first: Sequence[str]) -> list[str]:
    """Each of `texts`, or its counterpart of `name_first` where it is longer than the teacher's text tower reads.

    The tower's tokeniser cuts the end: so of a long prompt the style is lost, and the class is kept. Ours.
    """
    ids = subject.teacher.tokens([*texts, ""])
    whole = (ids[:-1, -1] == ids[-1, -1]).tolist()  # it ends in padding
    return [text if fits else other for text, fits, other in zip(texts, whole, name_first)]


class StyledClasses:
    """What the teacher makes of each class in each style, read when it is first asked for.

    A class's name and synonyms take turns over the styles.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        shape = (len(STYLES), len(subject.labels), subject.teacher.dim)
        self._vectors = np.zeros(shape, np.float32)
        self._known = np.zeros(shape[:2], bool)

    def vectors(self, styles: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """float32 [..., D], unit rows, of int64 [...] numbers of styles and of classes."""
        asked = np.zeros_like(self._known)
        asked[styles, classes] = True
        new = np.argwhere(asked & ~self._known)
        if len(new):
            self._vectors[new[:, 0], new[:, 1]] = self._read(new.tolist())
            self._known |= asked
        found: np.ndarray = self._vectors[styles, classes]
        return found

    def _read(self, pairs: list[list[int]]) -> np.ndarray:
        words = [self._subject.words[c][k % len(self._subject.words[c])] for k, c in pairs]
        texts = styled(self._subject, [k for k, _ in pairs], words)
        return read_texts(self._subject.teacher, texts, self._subject.progress)


def styled(subject: Subject, styles: Sequence[int], words: Sequence[str]) -> list[str]:
    """Each of `words` in the style of that number; where the teacher cannot read all of it, the word comes first."""
    names, templates = tuple(STYLES), tuple(STYLES.values())
    texts = [templates[k].replace("{}", word) for k, word in zip(styles, words)]
    return fitting(subject, texts, [f"{word}, {names[k]}" for k, word in zip(styles, words)])


class StyledWords:
    """A class in one style after the other, its name and synonyms in turn, as words.

    The styles come in another order each time that prompts are drawn, and so one that was drawn again has another.
    """

    has_words: ClassVar[bool] = True
    guarded: ClassVar[bool] = True

    def __init__(self, subject: Subject, random: np.random.Generator) -> None:
        self._subject = subject

    def draw(self, classes: np.ndarray, random: np.random.Generator) -> Candidates:
        turn, names = turns(classes), tuple(STYLES)
        styles = random.permutation(len(names))[turn % len(names)].tolist()
        known = self._subject.words
        words = [known[c][n % len(known[c])] for c, n in zip(classes.tolist(), turn.tolist())]
        texts = styled(self._subject, styles, words)
        return Candidates.of(
            read_texts(self._subject.teacher, texts, self._subject.progress),
            one_hot(classes, len(known)),
            texts,
            [names[k] for k in styles],
        )
