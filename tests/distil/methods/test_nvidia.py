from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from edgedistill.distil.config import TrainConfig
from edgedistill.distil.methods.kd import KD
from edgedistill.distil.methods.nvidia import Nvidia
from edgedistill.distil.run import Run
from edgedistill.errors import InputError
from edgedistill.line import Line
from edgedistill.teacher.store import TeacherStore
from edgedistill.work.compute import Compute

from ..colours import SIZE, config, fresh_student, lesson
from .reference import loss_of, problem


def huber(x: float) -> float:
    return x**2 / 2 if abs(x) < 1 else abs(x) - 0.5


SLOW = {"mse": lambda x: x**2, "l1": abs, "huber": huber}


@pytest.mark.parametrize("distance", SLOW)
def test_equals_its_formula(distance: Any) -> None:
    p = problem()
    expected = np.mean([[SLOW[distance](a - 3 * b) for a, b in zip(h, u)] for h, u in zip(p.h, p.u)])
    parts = loss_of(Nvidia(distance=distance, length=3.0), p)
    assert parts["total"].item() == pytest.approx(expected)
    assert parts[distance] is parts["total"]


@pytest.mark.parametrize("distance", SLOW)
def test_gradient_is_that_of_the_function(distance: Any) -> None:
    p = problem(batch=4, dim=5)
    h = torch.from_numpy(p.h).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda h: loss_of(Nvidia(distance=distance), p, h)["total"], (h,))


def test_a_student_whose_outputs_are_as_long_and_point_alike_has_nothing_to_learn() -> None:
    p = problem()
    p.h = 10 * p.u
    assert loss_of(Nvidia(), p)["total"].item() == pytest.approx(0, abs=1e-12)
    with pytest.raises(InputError, match="length is 0"):
        Nvidia(length=0.0)


def test_near_the_teacher_huber_is_half_of_mse() -> None:
    p = problem()
    p.h = 10 * p.u + 0.1
    assert loss_of(Nvidia(distance="huber"), p)["total"].item() == pytest.approx(
        loss_of(Nvidia(), p)["total"].item() / 2
    )


def test_it_trains_on_the_centre_view_alone_and_never_on_the_mean(store: TeacherStore, tmp_path: Path) -> None:
    run = Run(fresh_student(), lesson(store, Nvidia()), config(epochs=3, views="blend"), tmp_path)
    steps = [step for epoch in range(3) for step in run.plan.epoch(epoch)]
    assert {int(view) for _, views in steps for view in views} == {0}
    assert sorted(np.concatenate([rows for rows, _ in steps])) == sorted(np.tile(np.arange(48), 3))
    assert not run.needs_mean
    run.prepare()
    first = run.first_batch()
    assert np.array_equal(first.teacher.u.numpy(), store.features(first.row.numpy(), np.zeros(12, dtype=np.int64)))
    other = Run(fresh_student(), lesson(store, KD()), config(epochs=3, views="blend"), tmp_path)
    assert len({int(view) for _, views in other.plan.epoch(0) for view in views}) > 1
    assert other.needs_mean


def settled(**asked: Any) -> TrainConfig:
    """What a build of this method settles for 1000 images."""
    settings = SimpleNamespace(batch=None, epochs=None, patience=None, student_dtype="float32", view_targets="blend")
    vars(settings).update(asked)
    line: Any = SimpleNamespace(
        settings=settings,
        request=SimpleNamespace(method=Nvidia()),
        start=SimpleNamespace(knows_teacher=False),
        size=SIZE,
        compute=Compute("cpu", 1),
    )
    return Line.config(line, seed=0, images=1000)


def test_its_recipe_reaches_the_plan_and_the_optimiser(store: TeacherStore, tmp_path: Path) -> None:
    found = settled()
    assert (found.epochs, found.batch) == (50, 64)
    run = Run(fresh_student(), lesson(store, Nvidia()), found, tmp_path)
    assert (run.plan.epochs, run.plan.batch, run.plan.views) == (50, 64, 1)
    groups = run.learner.optimiser.param_groups
    assert {(group["peak"], group["weight_decay"]) for group in groups} == {(3e-4, 0.0)}


def test_what_the_user_asks_for_wins_over_the_recipe() -> None:
    found = settled(epochs=3, batch=16)
    assert (found.epochs, found.batch, found.lr, found.weight_decay) == (3, 16, 3e-4, 0.0)
