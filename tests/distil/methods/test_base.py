from __future__ import annotations

import numpy as np
import pytest
import torch

from edgedistill.distil.methods.base import NonFiniteLoss, TeacherOut, check_finite, view_loss
from edgedistill.distil.methods.embedding import Embedding
from edgedistill.distil.methods.kd import KD
from edgedistill.distil.methods.prg import PRG

from .reference import problem, student_out, unit

ALL = [PRG(), PRG(edge_loss="col"), KD(), KD(cosine=1), Embedding(), Embedding(distance="mse")]


@pytest.mark.parametrize("method", ALL, ids=str)
def test_loss_is_float32_whatever_autocast_says(method: PRG) -> None:
    p = problem()
    state = method.prepare(None, p.bank, p.classes)  # type: ignore[arg-type]
    teacher, h = TeacherOut(u=torch.from_numpy(p.u).float()), torch.from_numpy(p.h).float()
    plain = view_loss(method, student_out(h), teacher, state, eta=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = view_loss(method, student_out(h), teacher, state, eta=0)
    assert mixed["total"].dtype == torch.float32
    assert mixed["total"].item() == plain["total"].item()


@pytest.mark.parametrize("method", ALL, ids=str)
def test_every_method_names_its_parts_and_their_sum(method: PRG) -> None:
    p = problem()
    parts = method.loss(
        student_out(torch.from_numpy(p.h)),
        TeacherOut(u=torch.from_numpy(p.u)),
        method.prepare(None, p.bank, p.classes),  # type: ignore[arg-type]
    )
    total = parts.pop("total")
    assert parts
    assert sum(part.item() for part in parts.values()) == pytest.approx(total.item())


def test_view_policies_are_the_two_targets_and_the_line_between_them() -> None:
    p = problem()
    other = unit(np.random.default_rng(5).normal(size=p.u.shape))
    method = KD()
    state = method.prepare(None, p.bank, p.classes)  # type: ignore[arg-type]
    student = student_out(torch.from_numpy(p.h))
    teacher = TeacherOut(u=torch.from_numpy(p.u), u_mean=torch.from_numpy(other))
    match, blend, mean = (view_loss(method, student, teacher, state, eta)["total"].item() for eta in (0, 0.25, 1))
    assert match == method.loss(student, TeacherOut(u=teacher.u), state)["total"].item()
    assert mean == method.loss(student, TeacherOut(u=torch.from_numpy(other)), state)["total"].item()
    assert blend == pytest.approx(0.75 * match + 0.25 * mean)


def test_blended_losses_have_the_gradient_of_blended_targets() -> None:
    p, eta = problem(), 0.3
    other = unit(np.random.default_rng(5).normal(size=p.u.shape))
    state = KD().prepare(None, p.bank, p.classes)  # type: ignore[arg-type]
    u, u_mean = torch.from_numpy(p.u), torch.from_numpy(other)
    h = torch.from_numpy(p.h).requires_grad_(True)
    blended = view_loss(KD(), student_out(h), TeacherOut(u=u, u_mean=u_mean), state, eta)["total"]
    (ours,) = torch.autograd.grad(blended, h)
    target = (1 - eta) * state.logits(u).softmax(-1) + eta * state.logits(u_mean).softmax(-1)
    log_q = state.logits(student_out(h).g).log_softmax(-1)
    (direct,) = torch.autograd.grad(-(target * log_q).sum(-1).mean(), h)
    assert torch.allclose(ours, direct, atol=1e-10)


def test_a_broken_part_is_named_with_its_place() -> None:
    parts = {"total": torch.tensor(float("nan")), "node": torch.tensor(1.0), "edge": torch.tensor(float("inf"))}
    with pytest.raises(NonFiniteLoss, match=r"epoch 3, step 2: total = nan, edge = inf"):
        check_finite(parts, "epoch 3, step 2")
    assert check_finite({"node": torch.tensor(0.5)}, "here") == {"node": 0.5}
