"""A context of embeddings stands before the name as words would, and gives way to a long name."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgedistill.errors import InputError
from edgedistill.synthesis.candidates import Subject
from edgedistill.synthesis.contexts import Contexts, TokenNormal
from edgedistill.teacher.tower import Teacher

NAMES = ("red disc", "bars", " ".join(["disc"] * 28), " ".join(["disc"] * 60))  # room for 4, 4, 2 and 0 tokens of 32
LENGTH = 4


@pytest.fixture(scope="module")
def contexts(tiny_teacher: Teacher) -> Contexts:
    return Contexts(tiny_teacher, NAMES, LENGTH)


def words(contexts: Contexts, texts: list[str]) -> torch.Tensor:
    return torch.stack([contexts.mean_tokens([word])[0] for word in texts])


def test_embeddings_of_words_read_as_the_words(contexts: Contexts, tiny_teacher: Teacher) -> None:
    context = words(contexts, ["a", "good", "photo", "of"]).expand(3, -1, -1)
    found = contexts.read(context, np.array([0, 1, 2]))
    texts = ["a good photo of red disc", "a good photo of bars", f"photo of {NAMES[2]}"]
    assert np.allclose(found, tiny_teacher.encode_text(texts), atol=1e-5)


def test_a_name_that_fills_the_tower_is_the_same_in_every_context(contexts: Contexts, tiny_teacher: Teacher) -> None:
    context = TokenNormal(contexts.table).draw(np.random.default_rng(0), 2, LENGTH)
    found = contexts.read(context, np.array([3, 3]))
    assert np.allclose(found, tiny_teacher.encode_text([NAMES[3]]), atol=1e-5)


def test_rows_do_not_depend_on_the_passes_they_fall_into(contexts: Contexts) -> None:
    context = TokenNormal(contexts.table).draw(np.random.default_rng(0), 600, LENGTH)
    classes = np.arange(600) % 4
    alone = contexts.read(context[[590]], classes[[590]])
    assert np.allclose(contexts.read(context, classes)[590], alone[0], atol=1e-5)


def test_a_gradient_reaches_the_tokens_that_are_read(contexts: Contexts) -> None:
    context = TokenNormal(contexts.table).draw(np.random.default_rng(0), 4, LENGTH).requires_grad_()
    contexts.features(context, torch.arange(4))[:, 0].sum().backward()
    reached = (context.grad.abs().sum(-1) > 0).tolist()
    assert reached == [[True] * 4, [True] * 4, [False] * 2 + [True] * 2, [False] * 4]


def test_the_mean_of_a_texts_tokens_leaves_out_start_and_end(contexts: Contexts, tiny_teacher: Teacher) -> None:
    ids = tiny_teacher.tokens(["red bars"])[0]
    assert torch.allclose(contexts.mean_tokens(["red bars", "x"])[0], contexts.table[ids[1:3]].mean(dim=0))


def test_a_tokeniser_without_a_start_token_is_refused(shapes: Subject, monkeypatch) -> None:
    teacher = shapes.teacher
    whole = teacher.tokens
    monkeypatch.setattr(teacher, "tokens", lambda texts: torch.nn.functional.pad(whole(texts)[:, 1:], (0, 1)))
    with pytest.raises(InputError, match="puts no start token before a text"):
        Contexts(teacher, NAMES, LENGTH)


def test_random_tokens_have_the_mean_and_covariance_of_the_table() -> None:
    random = np.random.default_rng(0)
    table = torch.from_numpy(random.normal(size=(300, 5)) @ random.normal(size=(5, 5)) + 3)
    drawn = TokenNormal(table).draw(np.random.default_rng(1), 40_000, 2)
    assert drawn.shape == (40_000, 2, 5)
    flat = drawn.flatten(0, 1)
    assert torch.allclose(flat.mean(dim=0), table.mean(dim=0), atol=0.05)
    assert torch.allclose(torch.cov(flat.T), torch.cov(table.T), atol=0.15)


def test_tokens_are_drawn_from_a_flat_table_too() -> None:
    table = torch.ones(7, 3).mul(torch.arange(7)[:, None])
    drawn = TokenNormal(table).draw(np.random.default_rng(0), 4, 2)
    assert torch.allclose(drawn[..., 0], drawn[..., 2], atol=1e-4)
