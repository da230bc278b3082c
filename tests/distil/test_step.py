from __future__ import annotations

import numpy as np
import torch

from edgedistill.distil.batches import BatchReader
from edgedistill.distil.methods.kd import KD
from edgedistill.distil.schedule import Rates, Schedule
from edgedistill.distil.step import Learner, groups
from edgedistill.teacher.store import TeacherStore

from .colours import SIZE, VIEWS, config, fresh_student, lesson


def test_average_starts_as_a_copy_and_follows_ever_more_slowly(store: TeacherStore) -> None:
    learner = Learner(fresh_student(), lesson(store, KD()), config(), torch.device("cpu"))
    schedule = Schedule(config=config(), steps=100, views=VIEWS)
    weight, average = learner.live.projector[0].weight, learner.average.projector[0].weight  # type: ignore[union-attr]
    expected = average.detach().clone()
    for step in (0, 1, 50, 10**6):
        with torch.no_grad():
            weight.add_(1.0)  # type: ignore[operator]
        learner.update_average(schedule.at(step).decay)
        decay = min(0.999, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight.detach()  # type: ignore[operator]
        assert torch.allclose(average, expected, atol=1e-5)  # type: ignore[arg-type]


def test_a_step_reads_nothing_back_and_leaves_its_start_alone(store: TeacherStore) -> None:
    start, every = fresh_student(), np.arange(12)
    before = {k: v.clone() for k, v in start.state_dict().items()}
    learner = Learner(start, lesson(store), config(), torch.device("cpu"))
    batch = BatchReader(store=store, size=SIZE, with_mean=True).read(every, every % VIEWS)
    found = learner.step(batch, Rates(lr=1.0, eta=0.5, decay=0.5))
    assert {"total", "node", "agreement", "grad_norm"} <= set(found)
    assert all(value.ndim == 0 and not value.requires_grad for value in found.values())
    assert not torch.equal(learner.live.projector[0].weight, start.projector[0].weight)  # type: ignore[union-attr,arg-type]
    assert all(torch.equal(before[k], v) for k, v in start.state_dict().items())


def test_biases_and_batchnorm_are_not_decayed_and_the_projector_has_its_own_rate() -> None:
    student = fresh_student()
    found = groups(student, config(), lr=1e-3)
    decayed = {id(p) for group in found if group["weight_decay"] for p in group["params"]}
    assert {id(p) for p in student.parameters() if p.ndim > 1} == decayed
    assert sum(len(group["params"]) for group in found) == len(list(student.parameters()))
    assert {g["peak"] for g in found if any(p is student.projector[0].weight for p in g["params"])} == {3e-3}


def test_what_is_kept_lies_on_the_way_from_the_start(store: TeacherStore) -> None:
    every = np.arange(12)
    kept = {}
    for share in (0.25, 1.0):
        learner = Learner(fresh_student(), lesson(store), config(interpolation=share), torch.device("cpu"))
        batch = BatchReader(store=store, size=SIZE, with_mean=True).read(every, every % VIEWS)
        learner.step(batch, Rates(lr=1.0, eta=0.5, decay=0.5))
        learner.interpolate()
        kept[share] = list(learner.average.parameters())
    for began, near, far in zip(fresh_student().parameters(), kept[0.25], kept[1.0]):
        assert torch.allclose(near, began + 0.25 * (far - began), atol=1e-6)
    assert any(not torch.equal(near, far) for near, far in zip(kept[0.25], kept[1.0]))
