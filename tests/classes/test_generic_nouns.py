"""Generic nouns stand beside the classes, so none of them may mean one."""

from __future__ import annotations

import pytest

from edgedistill.classes.generic_nouns import GENERIC_NOUNS, nouns_beside
from edgedistill.labels import Label, Labels


def beside(*names: str, synonyms: tuple[str, ...] = ()) -> set[str]:
    return set(nouns_beside(Labels((Label("flange", synonyms), *map(Label, names)))).names)


def test_there_are_some_hundred_of_them_each_once_as_one_writes_them() -> None:
    assert 300 <= len(GENERIC_NOUNS) <= 400
    assert len(set(GENERIC_NOUNS)) == len(GENERIC_NOUNS)
    assert all(noun == " ".join(noun.casefold().split()) for noun in GENERIC_NOUNS)
    assert all(noun.replace(" ", "").isalpha() for noun in GENERIC_NOUNS)


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        ("bolt", {"bolt"}),
        ("Hex_Bolts", {"bolt"}),
        ("cup", {"cup", "cup of coffee"}),
        ("playing-card", {"playing card"}),
        ("carton", set()),
        ("zzz", set()),
    ],
)
def test_a_noun_that_a_class_may_mean_is_left_out(name: str, gone: set[str]) -> None:
    assert set(GENERIC_NOUNS) - beside(name) == gone


def test_a_synonym_leaves_out_nouns_as_a_name_does() -> None:
    assert set(GENERIC_NOUNS) - beside("vehicle", synonyms=("car", "truck")) == {"car", "truck"}
