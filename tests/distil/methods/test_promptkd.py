from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from edgedistill.distil.methods.base import TeacherOut, kl
from edgedistill.distil.methods.promptkd import PromptKD
from edgedistill.errors import InputError

from .reference import kl_rows, loss_of, problem, softmax, student_out, unit


def test_it_is_the_divergence_at_the_checkpoints_scale() -> None:
    p = problem()
    z = [p.classes.scale * x @ p.classes.baked.astype(np.float64).T for x in (p.u, unit(p.h))]
    assert loss_of(PromptKD(), p)["kl"].item() == pytest.approx(kl_rows(*z), rel=1e-5)


def test_its_gradient_is_the_difference_of_the_probabilities() -> None:
    p = problem()
    state = PromptKD().prepare(p)
    zs = (20 * torch.from_numpy(unit(p.h)) @ state.head.double().T).requires_grad_(True)
    zt = 20 * torch.from_numpy(p.u) @ state.head.double().T
    kl(zt, zs).backward()
    expected = [np.array(softmax(b)) - np.array(softmax(a)) for a, b in zip(zt.numpy(), zs.detach().numpy())]
    assert zs.grad is not None
    assert np.abs(zs.grad.numpy() - np.array(expected) / len(expected)).max() < 1e-12


def test_its_weight_does_not_depend_on_the_number_of_classes() -> None:
    """Classes that no image can be: all others keep what they had."""
    p, q = problem(), problem()
    q.u = p.u = unit(np.abs(p.u))
    q.h = p.h = np.abs(p.h)
    far = np.full((20, p.u.shape[1]), -100, np.float32)
    q.classes = copy.copy(p.classes)
    q.classes.baked = q.classes.text = np.concatenate([p.classes.text, far])
    assert loss_of(PromptKD(), q)["kl"].item() == pytest.approx(loss_of(PromptKD(), p)["kl"].item(), rel=1e-9)


def test_the_class_vectors_are_the_exported_ones_and_learn_nothing() -> None:
    p = problem()
    state = PromptKD().prepare(p)
    assert torch.equal(state.head, torch.from_numpy(p.classes.baked))
    assert not state.parameters()


def test_teacher_and_student_see_the_same_view_unless_asked_otherwise() -> None:
    assert PromptKD.recipe.view_targets == "match"


def test_at_equality_there_is_no_loss_and_no_gradient() -> None:
    p = problem()
    h = (3 * torch.from_numpy(p.u)).requires_grad_(True)
    parts = loss_of(PromptKD(), p, h)
    parts["total"].backward()
    assert h.grad is not None
    assert abs(parts["total"].item()) < 1e-9
    assert h.grad.abs().max() < 1e-9


def test_the_temperature_is_a_real_option_at_clips_scale() -> None:
    """With τ² the gradient hardly depends on τ where logits are small, and does where they are as large as CLIP's."""
    draw = torch.Generator().manual_seed(0)
    spread = {}
    for std in (0.3, 3.0):
        zt = std * torch.randn(64, 10, generator=draw, dtype=torch.float64)
        zs = std * torch.randn(64, 10, generator=draw, dtype=torch.float64)
        norms = []
        for tau in (1.0, 2.0, 4.0):
            z = zs.clone().requires_grad_(True)
            kl(zt, z, tau).backward()
            assert z.grad is not None
            norms.append(z.grad.norm().item())
        spread[std] = max(norms) / min(norms)
    assert spread[0.3] < 1.05 < spread[3.0]


def test_a_row_of_weight_zero_is_not_there() -> None:
    p = problem()
    h = torch.from_numpy(p.h).requires_grad_(True)
    weight = torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    state = PromptKD().prepare(p)
    PromptKD().loss(student_out(h), TeacherOut(u=torch.from_numpy(p.u), weight=weight), state)["total"].backward()
    assert h.grad is not None
    assert h.grad[1].abs().max() == 0 < h.grad[0].abs().max()


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(InputError, match="tau"):
        PromptKD(tau=0.0)
