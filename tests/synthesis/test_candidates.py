"""Every class gets its share of prompts that the teacher takes for it; what never gets through is said."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given as examples
from hypothesis import strategies as st

from edgedistill.synthesis.candidates import ROUNDS, Candidates, Subject, balanced, margins, one_hot, turns
from edgedistill.synthesis.random_contexts import Noise


class Scattered:
    """Draws anywhere in the space, and remembers what it was asked for."""

    has_words, guarded = False, True

    def __init__(self, subject: Subject) -> None:
        self.subject, self.asked = subject, []

    def draw(self, classes: np.ndarray, random: np.random.Generator) -> Candidates:
        self.asked.append(classes)
        vectors = self.subject.vectors
        targets = random.normal(size=(len(classes), vectors.shape[1]))
        return Candidates.of(targets, one_hot(classes, len(vectors)), [""] * len(classes), [str(c) for c in classes])


def test_every_class_gets_as_many_and_all_are_taken_for_it(given: Callable) -> None:
    subject = given(np.random.default_rng(0).normal(size=(3, 12)))
    way = Scattered(subject)
    classes, kept = balanced(way, 30, subject, np.random.default_rng(1))
    assert classes.tolist() == [c for c in range(3) for _ in range(30)]
    assert ((kept.targets @ subject.vectors.T).argmax(axis=1) == classes).all()
    assert kept.styles.tolist() == [str(c) for c in classes]
    assert len(way.asked[0]) == 90 > len(way.asked[1]) > len(way.asked[-1])  # only what is missing is drawn again


def test_of_a_class_that_never_gets_through_the_nearest_stay_and_it_is_named(given: Callable, caplog) -> None:
    twins = np.random.default_rng(0).normal(size=(3, 40))
    twins[1] = twins[0]
    subject = given(twins)
    with caplog.at_level(logging.WARNING):
        classes, kept = balanced(way := Noise(subject, np.random.default_rng(1)), 4, subject, np.random.default_rng(1))
    assert caplog.messages == [
        "the teacher takes prompts of 2 of 3 classes for another class: 'class 0' (4 of 4), 'class 1' (4 of 4). "
        "Reword them, or add synonyms"
    ]
    first = way.draw(classes, np.random.default_rng(1))
    assert (margins(kept.targets, classes, subject.vectors) >= margins(first.targets, classes, subject.vectors)).all()
    assert (kept.targets @ subject.vectors.T)[classes == 2].argmax(axis=1).tolist() == [2] * 4


def test_it_is_not_tried_for_ever(given: Callable) -> None:
    subject = given(np.ones((2, 6)))
    way = Scattered(subject)
    balanced(way, 3, subject, np.random.default_rng(0))
    assert [len(asked) for asked in way.asked] == [6] * (1 + ROUNDS)


def test_among_one_class_alone_everything_is_that_class(given: Callable) -> None:
    subject = given(np.random.default_rng(0).normal(size=(1, 6)))
    way = Scattered(subject)
    classes, kept = balanced(way, 5, subject, np.random.default_rng(0))
    assert len(way.asked) == 1
    assert np.isinf(margins(kept.targets, classes, subject.vectors)).all()


@examples(seed=st.integers(0, 1000), classes=st.integers(2, 6))
def test_the_margin_is_above_zero_where_the_own_class_is_the_nearest(seed: int, classes: int) -> None:
    random = np.random.default_rng(seed)
    vectors, targets = random.normal(size=(classes, 7)), random.normal(size=(9, 7))
    labels = random.integers(classes, size=9)
    cosines = targets @ vectors.T
    expected = [row[c] - np.delete(row, c).max() for row, c in zip(cosines, labels)]
    assert margins(targets, labels, vectors) == pytest.approx(expected)


def test_turns_count_within_each_class() -> None:
    assert turns(np.array([0, 0, 0, 2, 2, 5])).tolist() == [0, 1, 2, 0, 1, 0]
