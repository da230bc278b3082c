"""Mixtures lie between their parents."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedistill.synthesis.candidates import Subject
from edgedistill.synthesis.mix import FEWEST, MOST, MixedClasses, MixedStyles, described, mixed, mixtures
from edgedistill.synthesis.styles import STYLES, StyledClasses


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


@given(seed=st.integers(0, 10_000), count=st.integers(2, 4))
@settings(max_examples=50)
def test_a_mixture_is_a_unit_vector_inside_the_cone_of_its_parents(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    parents = unit(np.abs(random.normal(size=(6, count, 9))))  # no cosine below 0
    found = mixed(parents, random.dirichlet([0.5] * count, 6))
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    to_parents = np.einsum("nd,nkd->nk", found, parents)
    between = np.einsum("nkd,njd->nkj", parents, parents)
    assert (to_parents.min(axis=1) >= between.min(axis=(1, 2)) - 1e-9).all()


def test_a_share_of_one_gives_back_the_parent() -> None:
    parents = unit(np.random.default_rng(0).normal(size=(3, 4, 8)))
    assert np.allclose(mixed(parents, np.eye(4)[[2, 0, 3]]), parents[np.arange(3), [2, 0, 3]])


def test_two_to_four_different_styles_are_mixed() -> None:
    styles, shares = mixtures(500, np.random.default_rng(0))
    taken = (shares > 0).sum(axis=1)
    assert set(taken) == set(range(FEWEST, MOST + 1))
    assert [len(set(row)) for row in styles.tolist()] == taken.tolist()
    assert np.allclose(shares.sum(axis=1), 1)
    assert set(np.unique(styles)) == set(range(len(STYLES)))
    assert np.mean(shares.max(axis=1) > 0.8) > 0.2  # most mixtures lean on one style


def test_a_mixture_is_described_by_its_larger_shares() -> None:
    names = list(STYLES)
    assert described(np.array([0, 1, 2, 3]), np.array([0.3, 0.64, 0.0, 0.06])) == (
        f"{names[1]} 0.6 + {names[0]} 0.3 + {names[3]} 0.1"
    )


def test_the_targets_are_mixed_of_what_the_teacher_reads(shapes: Subject) -> None:
    classes = np.array([0, 3, 3])
    found = MixedStyles(shapes, np.random.default_rng(0)).draw(classes, np.random.default_rng(5))
    styles, shares = mixtures(3, np.random.default_rng(5))
    names = shapes.labels.names
    for row, c in enumerate(classes):
        texts = [list(STYLES.values())[k].format(names[c]) for k in styles[row]]
        expected = unit(shares[row] @ shapes.teacher.encode_text(texts))
        assert np.allclose(found.targets[row], expected, atol=1e-5)
        assert found.texts[row].endswith(f"of a {names[c]}")


def test_of_two_classes_the_larger_share_is_the_prompts_class(shapes: Subject) -> None:
    classes = np.repeat(np.arange(8), 6)
    found = MixedClasses(shapes, np.random.default_rng(0)).draw(classes, np.random.default_rng(1))
    assert (found.shares.argmax(axis=1) == classes).all()
    assert ((found.shares > 0).sum(axis=1) == 2).all()
    assert found.shares.sum(axis=1) == pytest.approx(1)
    styled = StyledClasses(shapes)
    for row, look in enumerate(found.styles):
        parents = styled.vectors(np.full(8, list(STYLES).index(look)), np.arange(8))
        assert np.allclose(found.targets[row], unit(found.shares[row] @ parents), atol=1e-5)
