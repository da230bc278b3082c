from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edgedistill.distil.methods.base import Method, NonFiniteLoss, TeacherOut, check_finite, view_loss
from edgedistill.distil.methods.embedding import Embedding
from edgedistill.distil.methods.kd import KD
from edgedistill.distil.methods.prg import PRG

from .reference import problem, student_out, unit

ALL = [PRG(), PRG(edge_loss="col"), KD(), KD(cosine=1), Embedding(), Embedding(distance="mse")]


@pytest.mark.parametrize("method", ALL, ids=str)
def test_loss_is_float32_whatever_autocast_says(method: Method) -> None:
    p = problem()
    state = method.prepare(p)
    teacher, h = TeacherOut(u=torch.from_numpy(p.u).float()), torch.from_numpy(p.h).float()
    plain = view_loss(method, student_out(h), teacher, state, eta=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = view_loss(method, student_out(h), teacher, state, eta=0)
    assert mixed["total"].dtype == torch.float32
    assert mixed["total"].item() == plain["total"].item()


@pytest.mark.parametrize("method", ALL, ids=str)
def test_every_method_names_its_parts_and_their_sum(method: Method) -> None:
    p = problem()
    parts = method.loss(
        student_out(torch.from_numpy(p.h)),
        TeacherOut(u=torch.from_numpy(p.u)),
        method.prepare(p),  # type: ignore[arg-type]
    )
    total = parts.pop("total")
    assert parts
    assert sum(part.item() for part in parts.values()) == pytest.approx(total.item())


def two_views(p: SimpleNamespace) -> TeacherOut:
    other = unit(np.random.default_rng(5).normal(size=p.u.shape))
    return TeacherOut(u=torch.from_numpy(p.u), u_mean=torch.from_numpy(other))


def gradient(loss: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    (found,) = torch.autograd.grad(loss, h, retain_graph=True)
    return found


@pytest.mark.parametrize("method", [*ALL, PRG(gamma=1, ce_rows="all")], ids=str)
def test_view_policies_are_the_losses_against_two_targets_and_the_line_between_them(method: Method) -> None:
    p, eta = problem(), 0.25
    teacher, h = two_views(p), torch.from_numpy(p.h).requires_grad_(True)
    assert teacher.u_mean is not None
    state = method.prepare(p)
    match, blend, mean = (view_loss(method, student_out(h), teacher, state, x) for x in (0, eta, 1))
    for policy, u in ((match, teacher.u), (mean, teacher.u_mean)):
        assert policy["total"].item() == method.loss(student_out(h), TeacherOut(u=u), state)["total"].item()
    assert set(blend) == set(match)
    for part in blend:
        assert blend[part].item() == pytest.approx((1 - eta) * match[part].item() + eta * mean[part].item())
    expected = (1 - eta) * gradient(match["total"], h) + eta * gradient(mean["total"], h)
    assert torch.allclose(gradient(blend["total"], h), expected, atol=1e-10)


@pytest.mark.parametrize("tau", [1.0, 3.0])
def test_blended_kl_has_the_gradient_of_blended_probabilities(tau: float) -> None:
    p, eta = problem(), 0.3
    teacher, h = two_views(p), torch.from_numpy(p.h).requires_grad_(True)
    assert teacher.u_mean is not None
    method = KD(tau=tau)
    state = method.prepare(p)
    of_view, of_mean = ((state.logits(u) / tau).softmax(-1) for u in (teacher.u, teacher.u_mean))
    target = (1 - eta) * of_view + eta * of_mean
    log_q = (state.logits(student_out(h).g) / tau).log_softmax(-1)
    direct = gradient(-(tau**2) * (target * log_q).sum(-1).mean(), h)
    ours = gradient(view_loss(method, student_out(h), teacher, state, eta)["total"], h)
    assert torch.allclose(ours, direct, atol=1e-10)


@pytest.mark.parametrize("method", [Embedding(), Embedding(distance="mse")], ids=str)
def test_blended_distances_have_the_gradient_of_a_blended_feature(method: Embedding) -> None:
    p, eta = problem(), 0.3
    teacher, h = two_views(p), torch.from_numpy(p.h).requires_grad_(True)
    assert teacher.u_mean is not None
    state = method.prepare(p)
    target = TeacherOut(u=(1 - eta) * teacher.u + eta * teacher.u_mean)
    direct = gradient(method.loss(student_out(h), target, state)["total"], h)
    ours = gradient(view_loss(method, student_out(h), teacher, state, eta)["total"], h)
    assert torch.allclose(ours, direct, atol=1e-12)


def test_the_mean_view_has_to_be_read_where_it_is_asked_for() -> None:
    p = problem()
    state = KD().prepare(p)
    with pytest.raises(ValueError, match="u_mean"):
        view_loss(KD(), student_out(torch.from_numpy(p.h)), TeacherOut(u=torch.from_numpy(p.u)), state, 0.5)


def test_a_broken_part_is_named_with_its_place() -> None:
    parts = {"total": torch.tensor(float("nan")), "node": torch.tensor(1.0), "edge": torch.tensor(float("inf"))}
    with pytest.raises(NonFiniteLoss, match=r"epoch 3, step 2: total = nan, edge = inf"):
        check_finite(parts, "epoch 3, step 2")
    assert check_finite({"node": torch.tensor(0.5)}, "here") == {"node": 0.5}
