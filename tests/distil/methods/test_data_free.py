from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from edgedistill.distil.methods.base import TeacherOut, kl_over_batch
from edgedistill.distil.methods.data_free import DataFree
from edgedistill.errors import InputError
from edgedistill.teacher.row_facts import RowFacts

from .reference import kl_rows, problem, softmax, student_out, unit

WHOLE = DataFree(affinity=1.0)  # every part


def teacher(p: object, made_for: list[int] | None, weight: list[float] | None = None) -> TeacherOut:
    return TeacherOut(
        u=torch.from_numpy(p.u),  # type: ignore[attr-defined]
        weight=None if weight is None else torch.tensor(weight),
        prompt_class=None if made_for is None else torch.tensor(made_for),
    )


def test_the_prompts_class_counts_where_the_teacher_agrees() -> None:
    p = problem()
    vectors = p.classes.baked.astype(np.float64)
    zt, zs = (p.classes.scale * x @ vectors.T for x in (p.u, unit(p.h)))
    best = zt.argmax(axis=1)
    made_for = [int(best[0]), int(best[1]), -1, int(best[3] + 1) % 5, int(best[4]), -1, int(best[6] + 2) % 5]
    got = DataFree(prompt=0.5, affinity=1.0).loss(
        student_out(torch.from_numpy(p.h)), teacher(p, made_for), DataFree().prepare(p)
    )
    expected = sum(-math.log(softmax(zs[i])[best[i]]) for i in (0, 1, 4)) / 7
    assert got["prompt"].item() == pytest.approx(0.5 * expected, rel=1e-6)
    assert got["kl"].item() == pytest.approx(kl_rows(zt, zs), rel=1e-6)
    assert got["affinity"].item() == pytest.approx(kl_rows(zt.T, zs.T), rel=1e-6)


def test_the_embedding_counts_beside_the_probabilities() -> None:
    p = problem()
    out, state = student_out(torch.from_numpy(p.h)), DataFree().prepare(p)
    apart = 1 - (p.u * unit(p.h)).sum(axis=1)
    weight = np.linspace(0, 1, len(apart))
    got = DataFree(embedding=2.0).loss(out, teacher(p, None, weight.tolist()), state)
    assert got["embedding"].item() == pytest.approx(2 * np.average(apart, weights=weight), rel=1e-6)
    assert "embedding" not in DataFree(embedding=0.0).loss(out, teacher(p, None), state)


def test_its_recipe_is_gentle_with_a_projector_that_knows_the_teacher_alone() -> None:
    assert DataFree.recipe.rates(fitted=True) == {"head_lr": 3e-4, "norm": "held", "interpolation": 0.4}
    assert DataFree.recipe.rates() == {"norm": "held"}


def test_photos_have_no_such_part() -> None:
    p = problem()
    out, state = student_out(torch.from_numpy(p.h)), DataFree().prepare(p)
    assert "prompt" not in DataFree().loss(out, teacher(p, None), state)
    assert DataFree().loss(out, teacher(p, [-1] * 7), state)["prompt"].item() == 0


def test_gradients_are_those_of_the_function() -> None:
    p = problem(batch=4, classes=3, dim=5)
    h, state = torch.from_numpy(p.h).requires_grad_(True), DataFree().prepare(p)
    seen = teacher(p, [0, 1, -1, 2], [1.0, 0.5, 2.0, 0.0])
    assert torch.autograd.gradcheck(lambda h: WHOLE.loss(student_out(h), seen, state)["total"], (h,))


def test_a_row_of_weight_zero_is_not_there() -> None:
    p = problem()
    h, state = torch.from_numpy(p.h).requires_grad_(True), DataFree().prepare(p)
    weight = [1.0, 0.0, 0.3, 1.0, 0.0, 1.0, 1.0]
    total = WHOLE.loss(student_out(h), teacher(p, [0, 1, 2, 3, 4, 0, 1], weight), state)["total"]
    total.backward()
    assert h.grad is not None
    assert h.grad[[1, 4]].abs().max() == 0
    p.u, kept = p.u[[0, 2, 3, 5, 6]], [0, 2, 3, 5, 6]
    fewer = teacher(p, [0, 2, 3, 0, 1], [weight[i] for i in kept])
    assert WHOLE.loss(student_out(h[kept]), fewer, state)["total"].item() == pytest.approx(total.item(), rel=1e-6)


def test_a_weight_multiplies_an_images_share_of_every_class() -> None:
    """An image that counts twice is as one that is there twice."""
    draw = np.random.default_rng(0)
    zt, zs = (torch.from_numpy(draw.normal(size=(4, 3))) for _ in range(2))
    twice = [torch.cat([z, z[1:2]]) for z in (zt, zs)]
    weighted = kl_over_batch(zt, zs, torch.tensor([1.0, 2.0, 1.0, 1.0]))
    assert weighted.item() == pytest.approx(kl_over_batch(*twice).item(), rel=1e-9)


def test_an_image_made_for_another_list_is_refused() -> None:
    p = problem(classes=3)
    p.store.facts = RowFacts(np.ones(7), np.array([0, 1, 2, 3, -1, -1, -1]))
    with pytest.raises(InputError, match="class number 3, the list has 3"):
        DataFree().prepare(p)
    p.store.facts = None
    assert DataFree().prepare(p).head.shape == (3, 16)
