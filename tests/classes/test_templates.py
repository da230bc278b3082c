"""The sets have their sizes and their published words; a mistake in a file is named by its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedistill.classes.templates import Templates, template_set
from edgedistill.errors import InputError


@pytest.mark.parametrize(("name", "count"), [("general", range(7, 13)), ("imagenet", (80,)), ("cifar", (18,))])
def test_each_set_has_its_size_and_one_place_a_template(name: str, count):
    templates = template_set(name).templates
    assert len(templates) in count
    assert len(set(templates)) == len(templates)
    assert all(template.count("{}") == 1 for template in templates)


def test_the_published_sets_are_the_published_ones():
    assert {"a photo of a {}.", "a low contrast photo of the {}.", "a photo of the big {}."} <= set(
        template_set("cifar").templates
    )
    assert template_set("imagenet").templates[:2] == ("a bad photo of a {}.", "a photo of many {}.")


def test_a_file_of_templates(tmp_path: Path):
    path = tmp_path / "mine.txt"
    path.write_text("\ufeff# camera\r\n\r\na thermal image of a {}.\r\n{} {weird} braces\r\n", encoding="utf-8")
    assert template_set(str(path)) == Templates("mine.txt", ("a thermal image of a {}.", "{} {weird} braces"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"a {}\nno place\n", "line 2: 'no place' has 0 places"),
        (b"a {} and a {}\n", "line 1: .* has 2 places"),
        (b"a {}\n# x\na {}\n", "line 3: the same as line 1"),
        (b"# nothing\n", "are empty"),
        (b"a {} \xff\n", "not UTF-8"),
    ],
)
def test_a_mistake_in_a_template_file_is_named(tmp_path: Path, text: bytes, message: str):
    (tmp_path / "mine.txt").write_bytes(text)
    with pytest.raises(InputError, match=message):
        template_set(tmp_path / "mine.txt")


def test_an_unknown_set_is_answered_with_a_near_one():
    with pytest.raises(InputError, match="Did you mean imagenet"):
        template_set("imagnet")
