"""Styles learn to differ while the class stays: the parts of L by hand, and what learning does on a linear tower."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edgedistill.errors import InputError
from edgedistill.synthesis.candidates import Subject
from edgedistill.synthesis.contrastive import (
    Learned,
    LearnedStyles,
    StyleRecipe,
    all_pairs,
    in_turn,
    learned,
    losses,
    nearest,
    orthogonal,
    spread,
    style_parts,
)

K, C, L, WIDTH, DIM = 6, 5, 2, 8, 16
SCALE = 10.0
QUICK = StyleRecipe(styles=K, length=L, steps=120, lr=0.02)
FORMS = [spread, orthogonal, in_turn]


class Linear:
    """A frozen random tower: e = norm(w_c + A·[tokens]), of dtype float64."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(200, WIDTH, generator=generator, dtype=torch.float64)
        self.vectors = F.normalize(torch.randn(C, DIM, generator=generator, dtype=torch.float64), dim=-1)
        self._weight = 0.2 * torch.randn(L * WIDTH, DIM, generator=generator, dtype=torch.float64)
        self._offset = 1.2 * torch.randn(DIM, generator=generator, dtype=torch.float64)  # what all contexts share

    def features(self, context: Tensor, classes: Tensor) -> Tensor:
        return F.normalize(self.vectors[classes] + context.flatten(1) @ self._weight + self._offset, dim=-1)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def measured(tower: Linear, styles: Tensor) -> tuple[float, float]:
    """(mean cosine of two styles' parts, cross-entropy) over all classes."""
    features = all_pairs(tower, styles, torch.arange(C))
    parts = losses(features, torch.arange(C), tower.vectors, SCALE, torch.zeros_like(styles), QUICK)
    return Learned.of(features.numpy(), tower.vectors.numpy()).cosine, float(parts["class"])


def test_the_parts_are_the_formulas() -> None:
    random = np.random.default_rng(0)
    e, w = unit(random.normal(size=(K, 3, DIM))), unit(random.normal(size=(C, DIM)))
    classes, off = np.array([4, 0, 2]), random.normal(size=(K, L, WIDTH))
    own = unit(np.mean([[e[k, i] - w[c] for i, c in enumerate(classes)] for k in range(K)], axis=1))
    apart = np.mean([np.log(sum(np.exp(own[k] @ own[j] / 0.1) for j in range(K) if j != k)) for k in range(K)])
    logits = SCALE * e @ w.T
    ce = np.mean(
        [np.log(np.exp(logits[k, i]).sum()) - logits[k, i, c] for k in range(K) for i, c in enumerate(classes)]
    )
    recipe = dataclasses.replace(QUICK, beta=0.7, rho=0.3)
    tensors = [torch.from_numpy(x) for x in (e, classes, w)]
    found = losses(*tensors, SCALE, torch.from_numpy(off), recipe)
    expected = {"apart": apart, "class": 0.7 * ce, "tokens": 0.3 * (off**2).sum()}
    assert {name: float(value) for name, value in found.items() if name != "total"} == pytest.approx(expected)
    assert float(found["total"]) == pytest.approx(sum(expected.values()))


def test_the_other_forms_are_theirs() -> None:
    own = unit(np.random.default_rng(0).normal(size=(K, DIM)))
    parts = torch.from_numpy(own)
    pairs = [abs(own[k] @ own[j]) for k in range(K) for j in range(K) if j != k]
    assert float(orthogonal(parts, 0.1)) == pytest.approx(np.mean(pairs) / 0.1)
    sums = [np.log(sum(np.exp(own[k] @ own[j] / 0.2) for j in range(k))) for k in range(1, K)]
    assert float(in_turn(parts, 0.2)) == pytest.approx(np.mean(sums))


def test_in_turn_a_style_does_not_give_way_to_a_later_one() -> None:
    parts = torch.from_numpy(unit(np.random.default_rng(0).normal(size=(K, DIM)))).requires_grad_()
    in_turn(parts, 0.1).backward()
    gradient = parts.grad.abs().sum(-1)
    assert gradient[0] == 0
    assert (gradient[1:] > 0).all()
    whole = parts.grad.clone()
    parts.grad = None
    in_turn(parts[:3], 0.1).backward()
    assert torch.allclose(parts.grad[:3] * 2, whole[:3] * (K - 1))  # means over 2 and over K - 1 styles


@pytest.mark.parametrize("apart", [spread, orthogonal])
def test_the_gradient_of_the_loss_is_that_of_its_differences(apart: Callable) -> None:
    tower, classes = Linear(), torch.tensor([3, 1])
    styles = tower.table[: 3 * L].view(3, L, WIDTH).clone().requires_grad_()
    near = torch.zeros_like(styles)
    recipe = dataclasses.replace(QUICK, apart=apart)

    def total(styles: Tensor) -> Tensor:
        features = all_pairs(tower, styles, classes)
        return losses(features, classes, tower.vectors, SCALE, styles - near, recipe)["total"]

    assert torch.autograd.gradcheck(total, [styles])


@pytest.mark.parametrize("apart", FORMS)
def test_learning_drives_styles_apart_and_keeps_the_class(apart: Callable) -> None:
    tower = Linear()
    recipe = dataclasses.replace(QUICK, apart=apart)
    start = learned(tower, tower.vectors, SCALE, dataclasses.replace(recipe, steps=0), np.random.default_rng(0))
    end = learned(tower, tower.vectors, SCALE, recipe, np.random.default_rng(0))
    cosines, ce = zip(measured(tower, start), measured(tower, end))
    assert cosines[0] > 0.5  # a start that would be refused
    assert cosines[1] < cosines[0] / 2
    assert ce[1] < ce[0]


def test_the_last_part_holds_tokens_near_the_vocabulary() -> None:
    tower = Linear()
    recipes = [dataclasses.replace(QUICK, rho=rho) for rho in (0.0, 10.0)]
    found = [learned(tower, tower.vectors, SCALE, recipe, np.random.default_rng(0)) for recipe in recipes]
    free, held = (float((styles - nearest(styles, tower.table)).square().sum()) for styles in found)
    assert held < free / 10


def test_the_nearest_token_is_the_one_of_the_smallest_distance() -> None:
    table = torch.from_numpy(np.random.default_rng(0).normal(size=(30, WIDTH)))
    styles = torch.from_numpy(np.random.default_rng(1).normal(size=(K, L, WIDTH)))
    for k in range(K):
        for t in range(L):
            best = min(range(30), key=lambda row: float((table[row] - styles[k, t]).square().sum()))
            assert torch.equal(nearest(styles, table)[k, t], table[best])


@pytest.mark.parametrize("classes", [2, 5, 100])
def test_the_seed_decides_whatever_the_classes_a_step(classes: int) -> None:
    tower = Linear()
    recipe = dataclasses.replace(QUICK, steps=5, classes=classes)
    one, same, other = (learned(tower, tower.vectors, SCALE, recipe, np.random.default_rng(s)) for s in (0, 0, 1))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_pairs_are_every_style_before_every_class() -> None:
    tower = Linear()
    styles = tower.table[: K * L].view(K, L, WIDTH)
    found = all_pairs(tower, styles, torch.tensor([4, 1]))
    assert torch.allclose(found[3, 1], tower.features(styles[3:4], torch.tensor([1]))[0])


def test_what_a_style_adds_is_a_mean_over_classes() -> None:
    features = torch.tensor([[[1.0, 0.0], [0.0, 3.0]]])
    assert style_parts(features, torch.tensor([[0.0, 0.0], [0.0, 2.0]])).tolist() == [pytest.approx([2**-0.5, 2**-0.5])]


def of(features: np.ndarray, vectors: np.ndarray) -> str | None:
    return Learned.of(unit(features).astype(np.float32), vectors).problem(vectors)


def test_styles_that_are_all_but_one_are_found() -> None:
    random, vectors = np.random.default_rng(0), np.eye(4, 20, dtype=np.float32)
    common, apart = random.normal(size=20), unit(random.normal(size=(K, 20)))
    assert of(vectors + 0.3 * apart[:, None], vectors) is None
    alike = of(vectors + 0.1 * common + 0.05 * apart[:, None], vectors)
    assert alike is not None
    assert alike.startswith("the learned styles are all but one style (mean cosine 0.9")


def test_styles_that_lose_the_class_are_found() -> None:
    vectors = np.eye(4, 20, dtype=np.float32)
    away = 5 * vectors[np.arange(K) % 4][:, None]  # each style is a class, whatever stands behind it
    assert of(vectors + away, vectors) == "the learned styles lose the class: the teacher takes 25 % of them for theirs"


def test_classes_of_the_same_vector_are_not_held_against_the_styles() -> None:
    vectors = np.eye(4, 20, dtype=np.float32)[[0, 0, 0, 1]]
    apart = unit(np.random.default_rng(0).normal(size=(K, 1, 20)))
    found = Learned.of(unit(vectors + 0.3 * apart).astype(np.float32), vectors)
    assert found.kept[:, 3].all()
    assert not found.kept[:, :3].any()
    assert found.problem(vectors) is None


def test_styles_that_stay_alike_are_refused_after_three_tries(shapes: Subject, monkeypatch, caplog) -> None:
    def together(parts: Tensor, tau: float) -> Tensor:
        return -(parts @ parts.T).mean() / tau

    monkeypatch.setattr(LearnedStyles, "recipe", StyleRecipe(apart=together, styles=4, steps=40, lr=0.02))
    caplog.set_level("INFO")
    with pytest.raises(InputError, match=r"all but one style .*, in 3 tries\nUse --diversify mix"):
        LearnedStyles(shapes, np.random.default_rng(0))
    assert sum(message.endswith("not used") for message in caplog.messages) == 3


def test_a_class_goes_through_its_styles_before_one_comes_again(shapes: Subject, monkeypatch) -> None:
    monkeypatch.setattr(LearnedStyles, "recipe", StyleRecipe(styles=4, steps=60, lr=0.02))
    way = LearnedStyles(shapes, np.random.default_rng(0))
    way._found.kept[2, 1] = False  # the third style loses the second class
    found = way.draw(np.repeat([0, 1], 8), np.random.default_rng(1))
    for styles in (found.styles[:4], found.styles[4:8]):
        assert sorted(styles) == [f"learned style {k}" for k in (1, 2, 3, 4)]
    assert set(found.styles[8:]) == {"learned style 1", "learned style 2", "learned style 4"}


def test_how_long_learning_takes_is_told_at_its_start(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    tower = Linear()
    learned(tower, tower.vectors, SCALE, dataclasses.replace(QUICK, steps=3), np.random.default_rng(0))
    assert caplog.messages == [f"{K} styles to learn: about 0 s"]
