from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from edgedistill.distil.batches import Batch, BatchReader
from edgedistill.distil.captured import CapturedStep
from edgedistill.distil.checkpoint import Checkpoint, read_checkpoint
from edgedistill.distil.methods.base import TeacherOut
from edgedistill.distil.methods.queue import Queue, QueueState
from edgedistill.distil.schedule import Rates, Schedule
from edgedistill.distil.step import Learner
from edgedistill.errors import InputError
from edgedistill.teacher.store import TeacherStore

from ..colours import SIZE, VIEWS, config, fresh_student, lesson
from .reference import kl_rows, problem, student_out, unit

CPU = torch.device("cpu")


def features(seed: int, rows: int, dim: int = 16) -> torch.Tensor:
    return torch.from_numpy(unit(np.random.default_rng(seed).normal(size=(rows, dim))))


def fill(method: Queue, state: QueueState, u: torch.Tensor, weight: torch.Tensor | None = None) -> None:
    method.advance(student_out(u), TeacherOut(u=u, weight=weight), state)


def oldest_first(state: QueueState) -> torch.Tensor:
    """The features that count, in the order in which they came."""
    place = int(state.place)
    return state.features.roll(-place, 0)[state.there.roll(-place, 0)]


def loss(method: Queue, p: SimpleNamespace, state: QueueState, h: torch.Tensor | None = None) -> torch.Tensor:
    h = torch.from_numpy(p.h) if h is None else h
    return method.loss(student_out(h), TeacherOut(u=torch.from_numpy(p.u)), state)["total"]


def prepared(method: Queue, p: SimpleNamespace) -> QueueState:
    return method.prepare(p)  # type: ignore[arg-type]


@pytest.mark.parametrize("seen", [5, 12, 20])
@pytest.mark.parametrize("tau", [0.07, 0.5])
def test_equals_its_formula_over_the_places_that_are_filled(seen: int, tau: float) -> None:
    p, method = problem(), Queue(tau=tau, length=12)
    state, past = prepared(method, p), features(3, seen)
    for one in past.split(4):
        fill(method, state, one)
    kept = past[-12:].numpy().astype(np.float32).astype(np.float64)
    expected = kl_rows(p.u @ kept.T / tau, unit(p.h) @ kept.T / tau)
    assert loss(method, p, state).item() == pytest.approx(expected, rel=1e-6)


def test_gradient_is_that_of_the_function() -> None:
    p, method = problem(batch=4, dim=5), Queue(tau=0.5)
    state = prepared(method, p)
    fill(method, state, features(3, 6, dim=5))
    h = torch.from_numpy(p.h).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda h: loss(method, p, state, h), (h,))


def test_an_empty_queue_teaches_nothing() -> None:
    p, method = problem(), Queue()
    h = torch.from_numpy(p.h).requires_grad_(True)
    nothing = loss(method, p, prepared(method, p), h)
    nothing.backward()
    assert nothing.item() == 0
    assert h.grad is not None
    assert h.grad.abs().max() == 0


def test_the_order_of_the_queue_does_not_matter() -> None:
    p, method = problem(), Queue(length=20)
    state = prepared(method, p)
    fill(method, state, features(3, 13))
    order = torch.from_numpy(np.random.default_rng(1).permutation(20))
    other = dataclasses.replace(state, features=state.features[order], there=state.there[order])
    assert loss(method, p, other).item() == pytest.approx(loss(method, p, state).item(), rel=1e-12)


def test_the_oldest_goes_first_and_the_queue_never_grows_above_its_length() -> None:
    p, method = problem(), Queue(length=5)
    state, came = prepared(method, p), torch.zeros(0, 16)
    for step, rows in enumerate([2, 2, 3, 1, 4, 9, 5, 2]):  # one of them longer than the queue
        batch = features(step, rows).float()
        came = torch.cat([came, batch])
        fill(method, state, batch)
        assert len(state.features) == 5
        assert torch.equal(oldest_first(state), came[-5:])


def test_a_row_of_weight_zero_is_left_out_of_the_queue_too() -> None:
    p, method, past = problem(), Queue(), features(3, 6)
    weighed, without = prepared(method, p), prepared(method, p)
    fill(method, weighed, past, torch.tensor([1.0, 0.0, 0.5, 2.0, 0.0, 1.0]))
    fill(method, without, past[[0, 2, 3, 5]])
    assert torch.equal(oldest_first(weighed), oldest_first(without))
    assert loss(method, p, weighed).item() == pytest.approx(loss(method, p, without).item(), rel=1e-12)


@pytest.mark.parametrize(("pool", "length"), [(8, 16), (31, 16), (100, 50), (1000, 500), (16384, 8192), (10**6, 8192)])
def test_its_length_is_half_of_the_pool_within_bounds(pool: int, length: int) -> None:
    p = problem()
    p.rows = np.arange(pool)
    assert prepared(Queue(), p).features.shape == (length, 16)
    assert prepared(Queue(length=7), p).features.shape == (7, 16)


@pytest.mark.parametrize("wrong", [{"length": 1}, {"length": -3}, {"tau": 0.0}])
def test_options_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Queue(**wrong)


# ---- in training -----------------------------------------------------------------------------------------------------


def batch(store: TeacherStore, step: int) -> Batch:
    rows = np.random.default_rng(step).permutation(len(store))[:12]
    return BatchReader(store=store, size=SIZE, with_mean=True).read(rows, rows % VIEWS)


def learner(store: TeacherStore) -> Learner:
    return Learner(fresh_student(), lesson(store, Queue(length=20)), config(), CPU)


def losses(one: Learner, store: TeacherStore, steps: range) -> list[float]:
    rates = Rates(lr=1.0, eta=0.0, decay=0.5)
    return [one.step(batch(store, step), rates)["total"].item() for step in steps]


def copied(one: Learner) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in one.tensors().items()}


def test_a_step_learns_from_the_batches_before_it_and_not_from_its_own(store: TeacherStore) -> None:
    one = learner(store)
    first, second = losses(one, store, range(2))
    assert first == 0
    assert second > 0
    assert isinstance(one.state, QueueState)
    assert one.state.there.all()
    assert torch.equal(oldest_first(one.state)[-12:], batch(store, 1).teacher.u)


def test_training_goes_on_from_a_checkpoint_to_the_same_losses(store: TeacherStore, tmp_path: Path) -> None:
    one, file = learner(store), tmp_path / "checkpoint.safetensors"
    losses(one, store, range(3))
    Checkpoint("key", 1, [], [], one.tensors()).write(file)
    kept = read_checkpoint(file, "key")
    assert kept is not None
    expected = losses(one, store, range(3, 6))
    again, forgetful = learner(store), learner(store)
    again.load(kept.tensors)
    assert losses(again, store, range(3, 6)) == pytest.approx(expected, rel=1e-5)
    forgetful.load({name: value for name, value in kept.tensors.items() if not name.startswith("method.")})
    assert losses(forgetful, store, range(3, 6)) != pytest.approx(expected, rel=1e-2)


def test_a_learner_put_back_goes_on_to_the_same_losses(store: TeacherStore) -> None:
    one = learner(store)
    losses(one, store, range(3))
    kept = copied(one)
    expected = losses(one, store, range(3, 6))
    one.restore(kept)
    assert all(torch.equal(value, kept[name]) for name, value in one.tensors().items())
    assert losses(one, store, range(3, 6)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("before", [0, 3])
def test_the_warm_up_of_a_recorded_step_leaves_the_queue_as_it_was(store: TeacherStore, before: int) -> None:
    one, rates = learner(store), Schedule(config=config(), steps=8, views=VIEWS)
    losses(one, store, range(before))
    kept = copied(one)
    recorded = CapturedStep(one, batch(store, 7), rates.in_tensors(0, CPU))
    queue = {name: value for name, value in one.tensors().items() if name.startswith("method.")}
    assert queue.keys() == {"method.features", "method.there", "method.place"}
    assert all(torch.equal(value, kept[name]) for name, value in queue.items())
    recorded(batch(store, 7), rates.at(0))
    assert int(queue["method.place"]) == (int(kept["method.place"]) + 12) % 20
