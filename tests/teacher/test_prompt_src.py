"""PromptSRC on the tiny teacher: its loss by hand, its mean of epochs, and what tuning does and leaves alone."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_images import CLASSES, make_photo

from edgedistill.errors import InputError
from edgedistill.teacher.prompt_src import Frozen, PromptedClip, PromptRecipe, TunedPrompts, losses, tune_prompts
from edgedistill.teacher.tower import Teacher

SHORT = PromptRecipe(epochs=4, mean=3.0)
NAMES = ("thing", "object", "item")  # what the teacher never learned: only labels can tell them apart
KINDS = ("red disc", "green bars", "blue disc")


def photos(teacher: Teacher, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(uint8 [count,1,S,S,3], int64 [count]) of three kinds in turn."""
    views = [teacher.centre(make_photo(KINDS[i % 3], seed + i))[None] for i in range(count)]
    return np.stack(views), np.arange(count) % 3


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def frozen_text(teacher: Teacher, names: tuple[str, ...]) -> np.ndarray:
    vectors = [unit(teacher.encode_text([f"a photo of a {name}.", f"one {name}."]).mean(0)) for name in names]
    return np.stack(vectors).astype(np.float32)


@pytest.fixture(scope="module")
def tuned(tiny_teacher: Teacher) -> TunedPrompts:
    shown, labels = photos(tiny_teacher, 12, seed=0)
    return tune_prompts(tiny_teacher, shown, labels, NAMES, frozen_text(tiny_teacher, NAMES), recipe=SHORT)


def test_the_loss_is_the_formula() -> None:
    random = np.random.default_rng(0)
    image, text, image0, text0 = (unit(random.normal(size=(n, 8))) for n in (5, 3, 5, 3))
    labels, s = np.array([0, 1, 2, 0, 1]), 20.0

    def log_softmax(z: np.ndarray) -> np.ndarray:
        return z - z.max(-1, keepdims=True) - np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1, keepdims=True))

    log_q, log_p = log_softmax(s * image @ text.T), log_softmax(s * image0 @ text0.T)
    expected = {
        "ce": -np.mean([log_q[i, y] for i, y in enumerate(labels)]),
        "text": 25 * np.abs(text - text0).mean(),
        "image": 10 * np.abs(image - image0).mean(),
        "kl": (np.exp(log_p) * (log_p - log_q)).sum() / (5 * 3),
    }
    tensors = [torch.from_numpy(x) for x in (image, text, image0, text0)]
    before = Frozen(tensors[3], tensors[2], s * tensors[2] @ tensors[3].T)
    found = losses(tensors[0], tensors[1], torch.from_numpy(labels), s, before, PromptRecipe())
    assert {k: v.item() for k, v in found.items()} == pytest.approx({"total": sum(expected.values()), **expected})

    def total(i: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return losses(i, t, torch.from_numpy(labels), s, before, PromptRecipe())["total"]

    assert torch.autograd.gradcheck(total, (tensors[0].requires_grad_(), tensors[1].requires_grad_()))


def test_epochs_count_by_a_gaussian_around_the_fifteenth() -> None:
    shares = PromptRecipe().shares()
    assert shares.sum() == pytest.approx(1)
    assert shares.argmax() == 14
    assert shares[13] == pytest.approx(shares[15])
    assert shares[15] / shares[14] == pytest.approx(np.exp(-0.5))


def test_one_epoch_warms_up_and_a_cosine_follows() -> None:
    rates = [PromptRecipe().rate(epoch) for epoch in range(20)]
    assert rates[0] == 1e-5
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[10] == pytest.approx(0.0025)


def test_prompts_begin_as_the_words_that_they_stand_for(tiny_teacher: Teacher) -> None:
    prompted = PromptedClip(tiny_teacher, CLASSES, depth=9)
    assert torch.allclose(
        prompted.class_vectors(),
        torch.from_numpy(tiny_teacher.encode_text([f"a photo of a {name}." for name in CLASSES])),
        atol=1e-5,
    )
    assert prompted.text.shape == (1, 4, 32), "one layer is all that this tower has"
    assert prompted.image.shape == (1, 4, 48)


def test_labels_tell_apart_what_names_do_not(tiny_teacher: Teacher, tuned: TunedPrompts) -> None:
    unseen, truth = photos(tiny_teacher, 30, seed=900)
    before = tiny_teacher.encode_images(unseen[:, 0]) @ frozen_text(tiny_teacher, NAMES).T
    prompted = PromptedClip(tiny_teacher, NAMES, depth=9)
    prompted.image = tuned.image
    with torch.no_grad():
        after = prompted.images(tiny_teacher.normalised(unseen[:, 0])).numpy() @ tuned.classes.T
    assert np.allclose(np.linalg.norm(tuned.classes, axis=1), 1, atol=1e-5)

    def cross_entropy(cosines: np.ndarray) -> float:
        logits = torch.from_numpy(tiny_teacher.scale * cosines)
        return torch.nn.functional.cross_entropy(logits, torch.from_numpy(truth)).item()

    assert cross_entropy(after) < cross_entropy(before)


def test_the_teacher_and_torchs_random_state_are_left_alone(tiny_teacher: Teacher) -> None:
    state = copy.deepcopy(tiny_teacher.model.state_dict())
    shown, labels = photos(tiny_teacher, 6, seed=0)
    torch.manual_seed(5)
    random = torch.random.get_rng_state()
    recipe = PromptRecipe(epochs=1, mean=1.0)
    found = [
        tune_prompts(tiny_teacher, shown, labels, NAMES, frozen_text(tiny_teacher, NAMES), recipe=recipe, seed=seed)
        for seed in (3, 3, 4)
    ]
    assert torch.equal(torch.random.get_rng_state(), random)
    assert all(torch.equal(state[name], value) for name, value in tiny_teacher.model.state_dict().items())
    assert torch.equal(found[0].image, found[1].image)
    assert not torch.equal(found[0].image, found[2].image)


def test_what_is_kept_is_the_mean_of_the_epochs(tiny_teacher: Teacher, tuned: TunedPrompts) -> None:
    """All the weight on one epoch gives that epoch's prompts; the mean of all lies among them."""
    shown, labels = photos(tiny_teacher, 12, seed=0)
    text = frozen_text(tiny_teacher, NAMES)
    each = [
        tune_prompts(
            tiny_teacher, shown, labels, NAMES, text, recipe=PromptRecipe(epochs=4, mean=float(epoch), std=0.01)
        ).image
        for epoch in range(1, 5)
    ]
    expected = sum(share * prompts for share, prompts in zip(SHORT.shares(), each))
    assert torch.allclose(tuned.image, expected, atol=1e-6)  # type: ignore[arg-type]


def test_towers_of_another_kind_are_refused() -> None:
    teacher = SimpleNamespace(id="another", model=SimpleNamespace(visual=SimpleNamespace()), dtype="float32")
    with pytest.raises(InputError, match="another take no prompt tokens"):
        PromptedClip(teacher, NAMES, depth=9)  # type: ignore[arg-type]
