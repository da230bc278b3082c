from __future__ import annotations

import numpy as np
import pytest
import torch

from edgedistill.distil.methods import KD, METHODS, PRG, Embedding, TeacherOut, check_finite, make, options, view_loss
from edgedistill.distil.methods.base import NonFiniteLoss
from edgedistill.errors import InputError

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


def test_methods_are_made_by_name_with_options_as_text() -> None:
    assert make("prg", ["alpha=2", "edges=E3", "edge_loss=col"]) == PRG(alpha=2.0, edges=("E3",), edge_loss="col")
    assert make("kd", ["tau=2"], cosine=1.0) == KD(tau=2.0, cosine=1.0)
    assert {name: make(name).name for name in METHODS} == {name: name for name in METHODS}


@pytest.mark.parametrize(
    ("name", "option", "says"),
    [
        ("prgg", None, "no method is called 'prgg'"),
        ("prg", "alpah=1", "Did you mean alpha="),
        ("kd", "tau", "no option 'tau'"),
        ("kd", "tau=hot", "'hot'"),
        ("kd", "tau=0", "tau is 0"),
        ("embedding", "distance=l1", "distance is 'l1'"),
    ],
)
def test_wrong_options_are_refused_with_their_remedy(name: str, option: str | None, says: str) -> None:
    with pytest.raises(InputError, match=says):
        make(name, [option] if option else [])


def test_options_are_written_with_the_methods_name() -> None:
    assert options(KD(tau=2.0)) == {"method": "kd", "tau": 2.0, "cosine": 0.0}
