"""The form of the step that a GPU records, run here as it is: the same Python, with nothing recorded."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edgedistill.distil.batches import Batch, BatchReader
from edgedistill.distil.captured import CapturedStep
from edgedistill.distil.methods.affinity import Affinity
from edgedistill.distil.methods.base import Method
from edgedistill.distil.methods.data_free import DataFree
from edgedistill.distil.methods.dist import DIST
from edgedistill.distil.methods.dkd import DKD
from edgedistill.distil.methods.eikd import EIKD
from edgedistill.distil.methods.embedding import Embedding
from edgedistill.distil.methods.kd import KD
from edgedistill.distil.methods.ls import LS
from edgedistill.distil.methods.nvidia import Nvidia
from edgedistill.distil.methods.prg import PRG
from edgedistill.distil.methods.queue import Queue
from edgedistill.distil.schedule import Schedule
from edgedistill.distil.step import Learner, groups
from edgedistill.distil.sums import Steps, SumsOnGpu
from edgedistill.teacher.store import TeacherStore

from .colours import SIZE, VIEWS, config, fresh_student, lesson

CPU, META = torch.device("cpu"), torch.device("meta")
STEPS = 8
BASELINES = [DKD(), DIST(), LS(), Affinity(), Queue(length=20), Nvidia()]
METHODS = [
    PRG(),
    PRG(edge_loss="col", gamma=1),
    KD(cosine=1.0),
    Embedding(),
    PRG(student_proxies="centroids", prompts="max-softmax"),
    PRG(student_proxies="classifier", edges=("class", "mean-view", "proxies"), correlation="pearson"),
    EIKD(),
    EIKD(drop="random", relation="rkd"),
    DataFree(),
    *BASELINES,
]


def schedule(policy: str) -> Schedule:
    return Schedule(config=config(views=policy), steps=STEPS, views=VIEWS)


def batch(store: TeacherStore, step: int = 0) -> Batch:
    rows = np.random.default_rng(step).permutation(len(store))[:12]
    return BatchReader(store=store, size=SIZE, with_mean=True).read(rows, rows % VIEWS)


def tensors(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in learner.tensors().items()}


def without_noise(found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """All but the bias in front of a BatchNorm, which takes it away again: its gradient is rounding and nothing else,
    and Adam makes whole steps of it. The BatchNorm's running mean follows it."""
    return {k: v for k, v in found.items() if not k.endswith(("projector.0.bias", "projector.1.running_mean"))}


@pytest.mark.parametrize("policy", ["match", "mean", "blend"])
@pytest.mark.parametrize("method", [PRG(), KD(cosine=1.0), Embedding(), *BASELINES], ids=lambda method: method.name)
def test_rates_in_tensors_make_the_step_that_numbers_make(store: TeacherStore, method: Method, policy: str) -> None:
    rates = schedule(policy)
    plain, other = (Learner(fresh_student(), lesson(store, method), config(views=policy), CPU) for _ in range(2))
    captured = CapturedStep(other, batch(store), rates.in_tensors(0, CPU))
    for step in range(STEPS):
        found = plain.step(batch(store, step), rates.at(step))
        same = captured(batch(store, step), rates.at(step))
        assert found.keys() == same.keys()
        for name, value in found.items():
            # Adam rounds otherwise with rates in tensors, and `ls` divides by the deviation of three logits.
            torch.testing.assert_close(same[name], value, rtol=1e-3, atol=1e-6)
    start = fresh_student().state_dict()
    assert not any(torch.equal(other.live.state_dict()[name], start[name]) for name in start if "weight" in name)
    found, same = (without_noise(learner.tensors()) for learner in (plain, other))
    for name, value in found.items():
        torch.testing.assert_close(same[name], value, rtol=1e-3, atol=2e-5, msg=name)


@pytest.mark.parametrize("method", [*METHODS[:3], *BASELINES], ids=lambda method: method.name)
def test_on_cuda_the_recorded_step_is_the_one_that_is_not(
    store: TeacherStore, method: Method, cuda: torch.device, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    rates = schedule("blend")
    plain, other = (Learner(fresh_student(), lesson(store, method), config(), cuda) for _ in range(2))
    recorded = CapturedStep(other, batch(store).map(lambda x: x.to(cuda)), rates.in_tensors(0, cuda))
    assert "without a recorded step" not in caplog.text
    for step in range(STEPS):
        given = batch(store, step).map(lambda x: x.to(cuda))
        found, same = plain.step(given, rates.at(step)), recorded(given, rates.at(step))
        for name, value in found.items():
            torch.testing.assert_close(same[name], value, rtol=1e-3, atol=1e-4, msg=name)
    found, same = (without_noise(learner.tensors()) for learner in (plain, other))
    for name, value in found.items():
        torch.testing.assert_close(same[name], value, rtol=1e-3, atol=1e-3, msg=name)


@pytest.mark.parametrize("method", [PRG(), Queue(length=20)], ids=lambda method: method.name)
def test_a_warm_up_leaves_the_learner_as_it_was_at_the_start_and_in_the_middle(
    store: TeacherStore, method: Method
) -> None:
    rates = schedule("blend")
    learner = Learner(fresh_student(), lesson(store, method), config(), CPU)
    start, noise = tensors(learner), torch.random.get_rng_state()
    captured = CapturedStep(learner, batch(store), rates.in_tensors(0, CPU))
    after = tensors(learner)
    assert all(torch.equal(after[name], value) for name, value in start.items())
    assert not any(value.any() for name, value in after.items() if name not in start)  # the optimiser's, new
    assert len(after) > len(start)
    assert torch.equal(torch.random.get_rng_state(), noise)
    for step in range(3):
        captured(batch(store, step), rates.at(step))
    middle = tensors(learner)
    CapturedStep(learner, batch(store), rates.in_tensors(3, CPU))
    assert all(torch.equal(tensors(learner)[name], value) for name, value in middle.items())
    assert all(parameter.grad is None for parameter in learner.live.parameters())


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_step_with_rates_in_tensors_reads_no_value(store: TeacherStore, method: Method) -> None:
    """torch's fake tensors have shape and dtype, but no values: to read one is an error."""
    learner, given = Learner(fresh_student(), lesson(store, method), config(dtype="bfloat16"), CPU), batch(store)
    sums = SumsOnGpu(steps=Steps(0, 1))
    with FakeTensorMode(allow_non_fake_inputs=True) as fake:
        faked = given.map(fake.from_tensor)
        found = learner.step(faked, schedule("blend").in_tensors(3, CPU))
        sums.add(0, found, 12)
        for read in (lambda: found["total"].item(), lambda: bool(found["agreement"] > 0)):
            with pytest.raises(DataDependentOutputException):
                read()


@pytest.mark.parametrize("method", METHODS, ids=str)
def test_a_step_makes_no_tensor_beside_its_device(
    store: TeacherStore, method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On torch's `meta` device, the only one beside the CPU that every machine has; not even a number in a tensor on
    the CPU may take part, which a GPU would wait for. It has neither an autocast nor the fused AdamW.
    """
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    learner = Learner(fresh_student(), lesson(store, method), config(), META)
    learner.optimiser = NoStep(groups(learner.live, learner.config, learner.lr))
    rates, sums = schedule("blend").in_tensors(3, META), SumsOnGpu(steps=Steps(0, 1))
    given, beside = batch(store).map(lambda x: x.to(META)), Devices()
    with beside:
        for step in range(2):
            found = learner.step(given, rates)
            sums.add(step, found, 12)
            rates.fill(schedule("blend").at(step))
    assert beside.seen == {"meta"}
    assert all(parameter.grad is not None for parameter in learner.live.parameters())
    with beside:
        given.images + torch.ones(())
    assert beside.seen == {"meta", "cpu"}


class Devices(TorchDispatchMode):
    """On which devices the tensors lie that operators take and make."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        self.seen |= {x.device.type for x in tree_leaves((args, kwargs, made)) if isinstance(x, torch.Tensor)}
        return made


class NoStep(torch.optim.AdamW):
    def step(self, closure: object = None) -> None:  # type: ignore[override]
        assert all(isinstance(group["lr"], torch.Tensor) for group in self.param_groups)
