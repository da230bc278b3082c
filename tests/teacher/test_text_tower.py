"""The text tower behind its embeddings gives what the whole one gives, with as few tokens as a text has."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from edgedistill.errors import EdgeDistillError, InputError
from edgedistill.teacher.text_tower import TextTower
from edgedistill.teacher.tower import Teacher

open_clip = pytest.importorskip("open_clip")  # after our own import, which sees to torchvision

VISION = {"image_size": 16, "layers": 1, "width": 16, "patch_size": 8, "head_width": 8}
TEXT = {"context_length": 12, "vocab_size": 50, "width": 16, "heads": 2, "layers": 2}
IDS = torch.tensor([[48, 1, 2, 3, 49], [48, 5, 49, 0, 0]])


def teacher_of(model: Any) -> Any:
    """As much of a teacher as the tower asks for; its tokeniser knows the empty text."""
    return SimpleNamespace(
        model=model, id="toy", tokens=lambda texts: torch.tensor([[48, 49] + [0] * 10]).repeat(len(texts), 1)
    )


def made(kind: Any = None, **text: Any) -> Any:
    torch.manual_seed(0)
    return (kind or open_clip.CLIP)(10, VISION, {**TEXT, **text}).eval().requires_grad_(False)


@pytest.mark.parametrize("kind", [open_clip.CLIP, open_clip.CustomTextCLIP])
@pytest.mark.parametrize("text", [{}, {"pool_type": "eos", "eos_id": 49}, {"proj_bias": True}])
def test_embeddings_of_words_give_open_clips_features(kind: Any, text: dict[str, Any]) -> None:
    model = made(kind, **text)
    tower = TextTower(teacher_of(model))
    whole = torch.nn.functional.pad(IDS, (0, 7))
    assert torch.allclose(tower.features(IDS, tower.table[IDS]), model.encode_text(whole, normalize=True), atol=1e-6)


def test_a_gradient_reaches_every_token_of_the_text_and_none_behind_its_end() -> None:
    tower = TextTower(teacher_of(made()))
    embedded = tower.table[IDS].clone().requires_grad_()
    tower.features(IDS, embedded)[:, 0].sum().backward()
    reached = embedded.grad.abs().sum(-1) > 0
    assert reached.tolist() == [[True] * 5, [True] * 3 + [False] * 2]
    assert tower.table.grad is None


def test_lengths_count_start_and_end() -> None:
    assert TextTower(teacher_of(made())).lengths(IDS).tolist() == [5, 3]


@pytest.mark.parametrize("text", [{"no_causal_mask": True, "pool_type": "last"}, {"embed_cls": True}])
def test_another_tower_is_refused(text: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"text tower of toy takes no token embeddings.*\nUse --diversify mix"):
        TextTower(teacher_of(made(open_clip.CustomTextCLIP, **text)))


def test_a_tower_that_is_gone_says_so(tiny_teacher_folder) -> None:
    from edgedistill.teacher.names import find_teacher

    teacher = Teacher(find_teacher(f"local-dir:{tiny_teacher_folder}"), dtype="float32")
    teacher.free_text()
    with pytest.raises(EdgeDistillError, match="is gone"):
        TextTower(teacher)
