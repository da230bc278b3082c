from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgedistill.classes.generic_nouns import GENERIC_NOUNS
from edgedistill.synthesis.candidates import Subject
from edgedistill.synthesis.random_contexts import Noise, RandomWords

DRAW = np.random.default_rng


def test_four_nouns_stand_before_the_name_and_none_is_a_class(about: Callable[..., Subject]) -> None:
    way = RandomWords(about("tree | shrub", "red disc"), DRAW(0))
    found = way.draw(np.zeros(300, int), DRAW(1))
    assert all(text == f"{context} tree." for text, context in zip(found.texts, found.styles))
    words = set(" ".join(found.styles).split())
    assert words <= set(" ".join(GENERIC_NOUNS).split()) - {"tree"}  # a class is no context
    assert len(words) > 200


def test_a_long_name_stands_before_the_nouns(about: Callable[..., Subject]) -> None:
    name = " ".join(["disc"] * 26)
    found = RandomWords(about(name, "red disc"), DRAW(0)).draw(np.array([0, 1]), DRAW(1))
    assert found.texts[0] == f"{name} {found.styles[0]}."
    assert found.texts[1] == f"{found.styles[1]} red disc."


def test_noise_is_as_long_as_its_name_says(given: Callable) -> None:
    subject = given(DRAW(0).normal(size=(3, 400)))
    found = Noise(subject, DRAW(0)).draw(np.repeat(np.arange(3), 50), DRAW(1))
    cosine = (found.targets * subject.vectors[np.repeat(np.arange(3), 50)]).sum(axis=1)
    spread = np.array([float(style.split()[1]) for style in found.styles])
    assert np.allclose(np.tan(np.arccos(cosine)), spread, atol=0.08)
    assert 0.3 <= spread.min() < spread.max() <= 0.6
