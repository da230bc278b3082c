from __future__ import annotations

import copy
import dataclasses
import logging
from types import SimpleNamespace
from typing import Literal

import numpy as np
import pytest
import torch

from edgedistill.classes.refine import visual_proxies
from edgedistill.distil.methods.base import TeacherOut
from edgedistill.distil.methods.kd import KD
from edgedistill.distil.methods.prg import PRG, off_diagonal
from edgedistill.errors import InputError

from .reference import (
    cross_entropy,
    edge,
    kl_rows,
    loss_of,
    mean_one_minus_pearson,
    problem,
    softmax,
    student_out,
    unit,
    without_diagonal,
)

EVERY_EDGE = [
    PRG(edges=edges, edge_loss=kind, proxies=proxies)
    for edges in (("class",), ("images",), ("class", "images"))
    for kind in ("corr", "col", "row", "mse")
    for proxies in ("prompt-mean", "weighted")
]


MORE = [
    *(PRG(prompts=prompts) for prompts in ("max-logit", "max-softmax", "debiased")),
    PRG(proxies="centroids"),
    *(PRG(correlation="pearson", edge_loss=kind) for kind in ("corr", "col", "row", "mse")),
    *(PRG(edges=("class", "mean-view"), edge_loss=kind) for kind in ("corr", "row")),
    *(
        PRG(edges=("class", "proxies"), student_proxies=student, edge_loss=kind)
        for student in ("classifier", "centroids")
        for kind in ("corr", "row", "mse")
    ),
]


def name(method: PRG) -> str:
    return " ".join([*method.edges, *(str(value) for value in vars(method).values() if isinstance(value, str))])


def slow(method: PRG, p: SimpleNamespace) -> dict[str, float]:
    """PRG from its formulas, in loops."""
    z_teacher = targets(method, p)
    g = unit(p.h)
    z_student = p.classes.scale * g @ p.classes.baked.astype(np.float64).T
    proxies = proxies_of(method, p)
    rows, mine = proxies, g
    if method.student_proxies == "classifier":
        rows, mine = unit(method.prepare(p).rows.double().numpy()), g  # type: ignore[attr-defined]
    elif method.student_proxies == "centroids":
        rows = unit(proxies)
    tau, omega = method.tau_edge, method.omega
    relate = cosines if method.correlation == "cosine" else correlations
    blocks = []
    for kind in method.edges:
        if kind in ("class", "mean-view"):
            seen = p.u if kind == "class" else p.u_mean
            teacher, student = relate(seen, proxies), relate(mine, rows)
            blocks.append(edge(method.edge_loss, teacher, student, tau, omega, symmetric=False))
        else:
            one, other = (p.u, g) if kind == "images" else (unit(proxies), rows)
            teacher, student = (without_diagonal(relate(x, x)) for x in (one, other))
            blocks.append(edge(method.edge_loss, teacher, student, tau, omega, symmetric=True))
    threshold = method.confident if method.ce_rows == "confident" else 0.0
    return {
        "node": kl_rows(z_teacher, z_student),
        "feature": method.feature * float(np.mean(1 - (p.u * g).sum(-1))),
        "edge": method.alpha * float(np.mean(blocks)),
        "ce": method.gamma * cross_entropy(z_teacher, z_student, threshold),
    }


def targets(method: PRG, p: SimpleNamespace) -> np.ndarray:
    """z̃ [B,C], image by image."""
    vectors, found = p.bank.vectors.astype(np.float64), []
    mean = p.u.mean(axis=0) if p.mean_feature is None else (p.u.mean(axis=0) + p.mean_feature) / 2
    for u in p.u:
        z = p.bank.scale * vectors @ u  # [C,P]
        largest = (z - p.bank.scale * vectors @ mean if method.prompts == "debiased" else z).max(axis=0)
        weights = {
            "class-vectors": p.classes.prompt_weights,
            "max-logit": largest / largest.sum(),
        }.get(method.prompts, np.array(softmax(largest / method.tau_prompts)))
        found.append(z @ weights)
    return np.array(found)


def proxies_of(method: PRG, p: SimpleNamespace) -> np.ndarray:
    """Π [C,D]."""
    vectors, weights = p.bank.vectors.astype(np.float64), p.classes.prompt_weights
    weighted = np.array([sum(w * t for w, t in zip(weights, row)) for row in vectors])
    if method.proxies == "prompt-mean":
        return unit(vectors.mean(axis=1))
    if method.proxies == "centroids":
        q = np.array([softmax(p.bank.scale * u @ weighted.T) for u in p.u])
        return unit(np.array([sum(q[i, c] * p.u[i] for i in range(len(q))) for c in range(len(weighted))]))
    return weighted


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([[x @ y for y in b] for x in a])


def correlations(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.array([[np.corrcoef(x, y)[0, 1] for y in b] for x in a])


@pytest.mark.parametrize("method", EVERY_EDGE, ids=name)
@pytest.mark.parametrize("classes", [2, 3, 5])
def test_every_combination_equals_its_formula(method: PRG, classes: int) -> None:
    p = problem(classes=classes)
    got, expected = loss_of(method, p), slow(method, p)
    for part in ("node", "feature", "edge"):
        assert got[part].item() == pytest.approx(expected[part], rel=2e-5), part
    assert got["total"].item() == pytest.approx(sum(got[part].item() for part in ("node", "feature", "edge")))


@pytest.mark.parametrize("method", MORE, ids=name)
def test_every_other_form_equals_its_formula(method: PRG) -> None:
    p = problem()
    got, expected = loss_of(method, p), slow(method, p)
    for part in ("node", "feature", "edge"):
        assert got[part].item() == pytest.approx(expected[part], rel=2e-5), part


def test_debiased_prompts_lean_on_the_broad_mean_where_there_is_one() -> None:
    p, method = problem(), PRG(prompts="debiased")
    pool = loss_of(method, p)["node"].item()
    p.mean_feature = problem(seed=3).u.mean(axis=0).astype(np.float32)
    broad = loss_of(method, p)["node"].item()
    assert broad == pytest.approx(slow(method, p)["node"], rel=2e-5)
    assert broad != pytest.approx(pool, rel=1e-4)


def test_max_logit_weights_of_logits_far_from_zero_are_nearly_uniform() -> None:
    p = problem()
    apart = [loss_of(PRG(prompts=prompts), p)["node"].item() for prompts in ("max-logit", "max-softmax")]
    assert abs(apart[0] - apart[1]) > 1e-3
    p.classes.text = p.bank.vectors.mean(axis=1)
    p.bank.scale = p.classes.scale = 1000.0  # the ratio of two maxima stays, the softmax of them becomes hard
    z = p.bank.scale * np.einsum("cpd,bd->bpc", p.bank.vectors, p.u)
    assert np.allclose(targets(PRG(prompts="max-softmax"), p), z[np.arange(7), z.max(-1).argmax(-1)])


def test_visual_proxies_are_learned_from_the_rows_that_train() -> None:
    p = problem(batch=40)
    p.rows = np.arange(20)
    state = PRG(proxies="visual").prepare(p)
    assert torch.equal(state.proxies, torch.from_numpy(visual_proxies(p.u[:20].astype(np.float32), p.classes.text)))


def test_a_classifier_of_the_students_own_learns_from_the_edges_alone() -> None:
    p, method = problem(), PRG(student_proxies="classifier")
    state = method.prepare(p).to(torch.device("cpu"))
    assert [rows.shape for rows in state.parameters()] == [(5, 16)]
    method.loss(student_out(torch.from_numpy(p.h)), TeacherOut(u=torch.from_numpy(p.u)), state)["edge"].backward()
    (rows,) = state.parameters()
    assert rows.grad is not None
    assert rows.grad.abs().max() > 0
    assert not state.head.requires_grad


def test_centroids_follow_the_student_and_a_class_the_batch_lacks_keeps_its_direction() -> None:
    p, method = problem(), PRG(student_proxies="centroids", momentum=0.9)
    state = method.prepare(p)
    before = state.changing()["centroids"].clone()
    out = student_out(torch.from_numpy(p.h).float())
    method.advance(out, TeacherOut(u=torch.from_numpy(p.u).float()), state)
    q = np.array([softmax(row) for row in targets(method, p)])
    expected = 0.9 * before.numpy() + 0.1 * q.T @ unit(p.h)
    assert np.abs(state.changing()["centroids"].numpy() - expected).max() < 1e-5


@pytest.mark.parametrize("method", [*EVERY_EDGE, *MORE, PRG(gamma=1)], ids=name)
def test_a_row_of_weight_zero_is_not_there(method: PRG) -> None:
    p = problem()
    weight = torch.tensor([1.0, 2.0, 0.0, 1.0, 0.5, 1.0, 0.0])
    h = torch.from_numpy(p.h).requires_grad_(True)
    state = method.prepare(p)
    u, u_mean = torch.from_numpy(p.u), torch.from_numpy(p.u_mean)
    total = method.loss(student_out(h), TeacherOut(u=u, u_mean=u_mean, weight=weight), state)["total"]
    total.backward()
    assert h.grad is not None
    assert h.grad[weight == 0].abs().max() == 0
    assert h.grad[weight > 0].abs().max() > 0
    kept = weight > 0
    fewer = TeacherOut(u=u[kept], u_mean=u_mean[kept], weight=weight[kept])
    assert method.loss(student_out(h[kept]), fewer, state)["total"].item() == pytest.approx(total.item(), rel=1e-5)


@pytest.mark.parametrize("method", [*EVERY_EDGE, *MORE], ids=name)
def test_equal_weights_are_no_weights(method: PRG) -> None:
    p = problem()
    state, out = method.prepare(p), student_out(torch.from_numpy(p.h))
    u, u_mean = torch.from_numpy(p.u), torch.from_numpy(p.u_mean)
    plain = method.loss(out, TeacherOut(u=u, u_mean=u_mean), state)
    weighted = method.loss(out, TeacherOut(u=u, u_mean=u_mean, weight=torch.full((7,), 0.5)), state)
    for part, value in plain.items():
        assert weighted[part].item() == pytest.approx(value.item(), rel=1e-6), part


def test_proxies_that_both_share_have_no_edges_between_them_to_learn() -> None:
    with pytest.raises(InputError, match="teacher and student share them"):
        PRG(edges=("class", "proxies"))


@pytest.mark.parametrize("rows", ["all", "confident"])
def test_targets_and_cross_entropy_equal_their_formulas(rows: Literal["all", "confident"]) -> None:
    p, method = problem(), PRG(gamma=0.3, ce_rows=rows, confident=0.5)
    got, expected = loss_of(method, p), slow(method, p)
    assert got["node"].item() == pytest.approx(expected["node"], rel=1e-5)
    assert got["ce"].item() == pytest.approx(expected["ce"], rel=1e-5)
    assert expected["ce"] > 0


def test_cross_entropy_counts_only_rows_the_teacher_is_sure_of() -> None:
    p = problem()
    z = p.bank.scale * p.u @ p.classes.text.T
    assert 0 < sum(max(softmax(row)) > 0.9 for row in z) < len(z)
    assert loss_of(PRG(gamma=1, confident=0.9), p)["ce"] < loss_of(PRG(gamma=1, ce_rows="all"), p)["ce"]


@pytest.mark.parametrize("method", [*EVERY_EDGE, *MORE], ids=name)
def test_gradients_are_those_of_the_function(method: PRG) -> None:
    p = problem(batch=4, classes=3, dim=5)
    method = dataclasses.replace(method, gamma=0.2)
    h = torch.from_numpy(p.h).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda h: loss_of(method, p, h)["total"], (h,))


@pytest.mark.parametrize("method", EVERY_EDGE, ids=name)
def test_a_student_equal_to_the_teacher_has_no_loss_and_no_gradient(method: PRG) -> None:
    p = problem()
    h = (2.7 * torch.from_numpy(p.u)).requires_grad_(True)
    parts = loss_of(method, p, h)
    parts["total"].backward()
    assert all(abs(value.item()) < 1e-6 for value in parts.values())
    assert h.grad is not None
    assert h.grad.abs().max() < 1e-5


def test_cross_entropy_has_its_minimum_elsewhere() -> None:
    p = problem()
    h = torch.from_numpy(p.u).clone().requires_grad_(True)
    loss_of(PRG(gamma=1, ce_rows="all"), p, h)["total"].backward()
    assert h.grad is not None
    assert h.grad.abs().max() > 1e-3


@pytest.mark.parametrize("method", EVERY_EDGE, ids=name)
def test_the_length_of_h_does_not_matter(method: PRG) -> None:
    p = problem()
    h = torch.from_numpy(p.h).requires_grad_(True)
    total = loss_of(method, p, h)["total"]
    total.backward()
    assert loss_of(method, p, 2.7 * h)["total"].item() == pytest.approx(total.item(), rel=1e-6)
    assert h.grad is not None
    assert (h * h.grad).sum(-1).abs().max() < 1e-6


@pytest.mark.parametrize("method", [*EVERY_EDGE, PRG(gamma=1)], ids=name)
def test_order_of_images_classes_and_prompts_does_not_matter(method: PRG) -> None:
    p = problem()
    before = loss_of(method, p)["total"].item()
    draw = np.random.default_rng(1)
    for axis in ("images", "classes", "prompts"):
        q = copy.deepcopy(p)
        if axis == "images":
            order = draw.permutation(len(q.u))
            q.u, q.h = q.u[order], q.h[order]
        elif axis == "classes":
            order = draw.permutation(len(q.classes.text))
            q.bank.vectors = q.bank.vectors[order]
            q.classes.text = q.classes.baked = q.classes.text[order]
        else:
            order = draw.permutation(len(q.classes.prompt_weights))
            q.bank.vectors, q.classes.prompt_weights = q.bank.vectors[:, order], q.classes.prompt_weights[order]
        assert loss_of(method, q)["total"].item() == pytest.approx(before, rel=1e-5), axis


def test_targets_are_weighted_averages_of_the_prompts_logits() -> None:
    p = problem()
    state = PRG().prepare(p)
    combined = state.logits(torch.from_numpy(p.u)).numpy()
    averaged = np.einsum("p,cpd,bd->bc", p.classes.prompt_weights, p.bank.vectors, p.bank.scale * p.u)
    assert np.abs(combined - averaged).max() < 1e-5


def test_refined_class_vectors_are_what_is_aimed_at_and_what_is_exported() -> None:
    p = problem()
    p.classes.baked = unit(p.classes.baked)
    state = PRG().prepare(p)
    assert torch.equal(state.head, torch.from_numpy(p.classes.baked))
    assert torch.equal(state.proxies, state.head)
    h = torch.from_numpy(p.u)
    assert abs(loss_of(PRG(), p, h)["total"].item()) < 1e-6


def test_row_edges_at_the_logits_temperature_are_plain_kd() -> None:
    p = problem()
    edge_part = loss_of(PRG(edges=("class",), edge_loss="row", tau_edge=1 / p.classes.scale), p)["edge"]
    assert edge_part.item() == pytest.approx(loss_of(KD(), p)["kl"].item(), abs=1e-5)


def test_a_duplicated_class_changes_kl_but_not_the_mse_of_the_other_edges() -> None:
    p = problem()
    method = PRG(edges=("class",), edge_loss="mse")
    before = loss_of(method, p)
    q = copy.deepcopy(p)
    q.bank.vectors = np.concatenate([p.bank.vectors, p.bank.vectors[:1]])
    q.classes.text = q.classes.baked = np.concatenate([p.classes.text, p.classes.text[:1]])
    after = loss_of(method, q)
    g, vectors = unit(p.h), p.classes.text.astype(np.float64)
    columns = method.omega * np.mean((p.u @ vectors.T - g @ vectors.T) ** 2, axis=0)
    assert after["edge"].item() == pytest.approx((columns.sum() + columns[0]) / 6, rel=1e-5)
    assert before["edge"].item() == pytest.approx(columns.mean(), rel=1e-5)
    assert after["node"].item() != pytest.approx(before["node"].item(), rel=1e-3)


def test_class_vectors_receive_no_gradient() -> None:
    p = problem()
    state = PRG().prepare(p)
    assert not any(tensor.requires_grad for tensor in (state.head, state.proxies))


def test_two_classes_train_on_columns_and_say_so_once(caplog: pytest.LogCaptureFixture) -> None:
    p, method = problem(classes=2), PRG(edges=("class",), feature=0)
    with caplog.at_level(logging.INFO):
        parts = loss_of(method, p)
    assert sum("two classes" in record.message for record in caplog.records) == 1
    proxies = p.classes.text.astype(np.float64)
    columns = mean_one_minus_pearson((p.u @ proxies.T).T, (unit(p.h) @ proxies.T).T)
    assert parts["edge"].item() == pytest.approx(columns, rel=1e-5)


def test_one_class_is_refused() -> None:
    p = problem(classes=1)
    with pytest.raises(InputError, match="at least two classes"):
        PRG().prepare(p)


@pytest.mark.parametrize(
    ("method", "warned"),
    [
        (PRG(edges=("class",), edge_loss="row", tau_edge=0.05), True),  # 1/s: the scale of the problem is 20
        (PRG(edges=("class",), edge_loss="mse"), True),
        (PRG(edges=("class",), edge_loss="row", tau_edge=0.1), False),
        (PRG(edges=("class",), edge_loss="mse", alpha=0), False),
        (PRG(edges=("class", "images"), edge_loss="mse"), False),
        (PRG(), False),
    ],
)
def test_edges_that_only_repeat_the_nodes_are_warned_about(
    method: PRG, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    p = problem()
    method.prepare(p)
    assert any("plain kd plus a cosine" in record.message for record in caplog.records) == warned


@pytest.mark.parametrize(
    "wrong",
    [
        {"edges": ()},
        {"edges": ("words",)},
        {"edges": ("class", "class")},
        {"edge_loss": "l1"},
        {"alpha": -1.0},
        {"gamma": float("nan")},
        {"tau_edge": 0.0},
        {"confident": 1.0},
    ],
)
def test_options_out_of_range_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        PRG(**wrong)  # type: ignore[arg-type]


def test_constant_edges_stay_finite() -> None:
    h = torch.ones(4, 16, dtype=torch.float64, requires_grad=True)  # all images alike: every pair has cosine 1
    p = problem(batch=4)
    loss_of(PRG(), p, h)["total"].backward()
    assert h.grad is not None
    assert torch.isfinite(h.grad).all()


def test_off_diagonal_keeps_the_order_of_a_row() -> None:
    square = torch.arange(9).view(3, 3)
    assert off_diagonal(square).tolist() == [[1, 2], [3, 5], [6, 7]]
