from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgedistill.synthesis.candidates import Subject
from edgedistill.synthesis.styles import STYLES, StyledClasses, StyledWords, fitting

LONG = "red disc with " + "very " * 40 + "many holes"


def test_there_are_forty_styles_with_one_place_for_the_name() -> None:
    assert len(STYLES) == len(set(STYLES.values())) == 40
    assert all(template.count("{}") == 1 for template in STYLES.values())


def test_name_and_synonyms_take_turns_over_the_styles(about: Callable[..., Subject]) -> None:
    subject = about("red disc | scarlet_dot", "blue bars")
    found = StyledClasses(subject).vectors(np.arange(4), np.array([0, 0, 0, 1]))
    templates, words = list(STYLES.values()), ("red disc", "scarlet dot", "red disc", "blue bars")
    read = subject.teacher.encode_text([template.format(word) for template, word in zip(templates, words)])
    assert np.allclose(found, read, atol=1e-5)


def test_what_was_read_is_not_read_again(shapes: Subject, monkeypatch) -> None:
    styled = StyledClasses(shapes)
    first = styled.vectors(np.array([3, 5]), np.array([0, 1]))
    monkeypatch.setattr(shapes.teacher, "encode_text", None)
    assert (styled.vectors(np.array([5]), np.array([1])) == first[1]).all()


def test_of_a_prompt_that_is_too_long_the_class_is_kept(shapes: Subject) -> None:
    assert fitting(shapes, ["a photo", f"a photo of a {LONG}"], ["one", "two"]) == ["a photo", "two"]


def test_a_name_that_fills_the_tower_is_read_whole(about: Callable[..., Subject]) -> None:
    """24 of 32 tokens are the name's: a long style would cut its end, which tells it from the other class."""
    names = [f"disc {'on a shelf ' * 7}that is {colour}" for colour in ("red", "blue")]
    found = StyledClasses(about(*names)).vectors(np.full(2, list(STYLES).index("catalogue")), np.arange(2))
    assert found[0] @ found[1] < 0.99


def test_every_style_and_every_word_of_a_class_has_its_turn(about: Callable[..., Subject]) -> None:
    subject, random = about("red disc | scarlet_dot", "blue bars"), np.random.default_rng(0)
    classes = np.repeat([0, 1], 40)
    found = StyledWords(subject, random).draw(classes, random)
    for own, words in ((slice(40), {"red disc", "scarlet dot"}), (slice(40, None), {"blue bars"})):
        assert sorted(found.styles[own]) == sorted(STYLES)
        said = [next(word for word in words if word in text) for text in found.texts[own]]
        assert {said.count(word) for word in words} == {40 // len(words)}
        assert all(
            STYLES[style].format(word) == text for style, word, text in zip(found.styles[own], said, found.texts[own])
        )
    assert np.allclose(found.targets, subject.teacher.encode_text(list(found.texts)), atol=1e-5)
    again = StyledWords(subject, random).draw(classes, random)
    assert not np.array_equal(again.styles, found.styles)
