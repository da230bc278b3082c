from __future__ import annotations

import logging
import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edgedistill.distil.methods.base import TeacherOut
from edgedistill.distil.methods.eikd import EIKD, gram, rkd, row
from edgedistill.distil.methods.kd import KD
from edgedistill.errors import InputError

from .reference import kl_rows, loss_of, problem, softmax, student_out, unit

DROPS = ["top-k", "confidence", "class", "random", "none"]


def many() -> SimpleNamespace:
    return problem(classes=14)


def logits(p: SimpleNamespace) -> tuple[np.ndarray, np.ndarray]:
    vectors = p.classes.baked.astype(np.float64)
    return p.classes.scale * p.u @ vectors.T, p.classes.scale * unit(p.h) @ vectors.T


def kept_of(method: EIKD, z: np.ndarray) -> list[int]:
    """The classes of one image, in words of the docstring."""
    q = softmax(z)
    best_first = sorted(range(len(q)), key=lambda c: -q[c])
    if method.drop == "confidence":
        return best_first if q[best_first[0]] >= method.sure else best_first[: method.least]
    kept, mass = [], 0.0
    for c in best_first:
        if len(kept) >= method.least and mass >= method.mass:
            break
        kept.append(c)
        mass += q[c]
    return kept


@pytest.mark.parametrize("drop", ["top-k", "confidence"])
@pytest.mark.parametrize("least", [2, 5])
def test_dropped_classes_are_neither_asked_nor_answered(drop: str, least: int) -> None:
    p = many()
    method = EIKD(drop=drop, least=least, mass=0.8, sure=0.9)  # type: ignore[arg-type]
    zt, zs = logits(p)
    each = []
    for a, b in zip(zt, zs):
        kept = kept_of(method, a)
        each.append(kl_rows(a[kept][None], b[kept][None]))
    assert loss_of(method, p)["kl"].item() == pytest.approx(np.mean(each), rel=1e-5)


def test_keeping_every_class_is_plain_kd() -> None:
    p = many()
    expected = loss_of(KD(), p)["kl"].item()
    assert loss_of(EIKD(drop="none"), p)["kl"].item() == pytest.approx(expected, rel=1e-9)
    assert loss_of(EIKD(drop="top-k", least=14), p)["kl"].item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("drop", ["top-k", "confidence"])
def test_a_constant_added_to_a_row_of_logits_changes_nothing(drop: str) -> None:
    zt = torch.from_numpy(logits(many())[0])
    method = EIKD(drop=drop)  # type: ignore[arg-type]
    kept = torch.ones(14, dtype=torch.bool)
    assert torch.equal(method._gone(zt, kept), method._gone(zt + 7, kept))
    assert method._gone(zt, kept).any()


def test_classes_that_the_pool_hardly_shows_are_dropped_for_all() -> None:
    p, method = many(), EIKD(drop="class", few=2)
    best = logits(p)[0].argmax(axis=1)
    found = np.bincount(best, minlength=14)
    kept = (found >= 2) | (found >= np.sort(found)[-2])
    assert 2 <= kept.sum() < 14
    zt, zs = logits(p)
    assert loss_of(method, p)["kl"].item() == pytest.approx(kl_rows(zt[:, kept], zs[:, kept]), rel=1e-5)


def test_random_classes_are_drawn_anew_after_every_step_and_an_images_two_best_stay() -> None:
    p, method = many(), EIKD(drop="random", share=0.5)
    state = method.prepare(p)
    zt = torch.from_numpy(logits(p)[0])
    torch.manual_seed(0)
    drawn = []
    for _ in range(3):
        out = student_out(torch.from_numpy(p.h))
        method.advance(out, TeacherOut(u=torch.from_numpy(p.u)), state)
        drawn.append(state.kept.tolist())
        gone = method._gone(zt, state.kept)
        assert not gone.gather(1, zt.topk(2).indices).any()
    assert drawn[0] != drawn[1] != drawn[2]
    same = method.loss(out, TeacherOut(u=torch.from_numpy(p.u)), state)["kl"].item()
    assert same == method.loss(out, TeacherOut(u=torch.from_numpy(p.u)), state)["kl"].item()


def test_a_short_list_drops_nothing_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    p = problem(classes=5)
    with caplog.at_level(logging.INFO):
        assert loss_of(EIKD(), p)["kl"].item() == pytest.approx(loss_of(KD(), p)["kl"].item())
    assert "drops no class of 5" in caplog.text


def test_explicit_is_the_squared_distance_of_unit_vectors() -> None:
    p = many()
    expected = np.mean(np.sum((unit(p.h) - p.u) ** 2, axis=1))
    assert loss_of(EIKD(explicit=0.5), p)["explicit"].item() == pytest.approx(0.5 * expected, rel=1e-5)


def test_gram_is_the_mean_over_all_pairs_with_nothing_on_the_diagonal() -> None:
    p = many()
    g, total = unit(p.h), 0.0
    for i in range(len(g)):
        for j in range(len(g)):
            total += (p.u[i] @ p.u[j] - g[i] @ g[j]) ** 2 if i != j else 0.0
    assert loss_of(EIKD(), p)["implicit"].item() == pytest.approx(total / len(g) ** 2, rel=1e-5)


def test_rkd_is_huber_of_distances_over_their_mean_and_of_angles() -> None:
    p = problem(batch=4)

    def parts(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        n = len(x)
        distance = np.array([[np.linalg.norm(a - b) for b in x] for a in x])
        angle = np.zeros((n, n, n))
        for j in range(n):
            for i in range(n):
                for k in range(n):
                    if i != j and k != j:
                        angle[j, i, k] = unit(x[i] - x[j]) @ unit(x[k] - x[j])
        return distance / distance.mean(), angle

    def huber(a: np.ndarray, b: np.ndarray) -> float:
        d = np.abs(a - b)
        return float(np.mean(np.where(d < 1, 0.5 * d**2, d - 0.5)))

    teacher, student = parts(p.u), parts(unit(p.h))
    expected = huber(teacher[0], student[0]) + 2 * huber(teacher[1], student[1])
    got = rkd(torch.from_numpy(p.u), torch.from_numpy(unit(p.h)), None)
    assert got.item() == pytest.approx(expected, rel=1e-6)


def test_row_is_the_divergence_of_each_images_likeness_to_the_others() -> None:
    p = problem(batch=5)
    g = unit(p.h)
    rows = []
    for i in range(5):
        others = [j for j in range(5) if j != i]
        a, b = (np.array([x[i] @ x[j] / 0.1 for j in others]) for x in (p.u, g))
        rows.append(kl_rows(a[None], b[None]))
    assert row(torch.from_numpy(p.u), torch.from_numpy(g), None).item() == pytest.approx(np.mean(rows), rel=1e-6)


@pytest.mark.parametrize("relation", [gram, rkd, row])
def test_relations_do_not_see_a_student_space_that_is_turned(relation: object) -> None:
    p = problem()
    turn = torch.from_numpy(np.linalg.qr(np.random.default_rng(5).normal(size=(16, 16)))[0])
    u, g = torch.from_numpy(p.u), torch.from_numpy(unit(p.h))
    assert relation(u, g @ turn, None).item() == pytest.approx(relation(u, g, None).item(), rel=1e-8)  # type: ignore[operator]
    before, after = loss_of(EIKD(), p), loss_of(EIKD(), p, torch.from_numpy(p.h) @ turn)
    assert after["explicit"].item() != pytest.approx(before["explicit"].item(), rel=1e-3)


@pytest.mark.parametrize("drop", DROPS)
@pytest.mark.parametrize("relation", ["gram", "rkd", "row"])
def test_gradients_are_those_of_the_function(drop: str, relation: str) -> None:
    p = problem(batch=4, classes=12, dim=5)
    h = torch.from_numpy(p.h).requires_grad_(True)
    method = EIKD(drop=drop, relation=relation, share=0.3)  # type: ignore[arg-type]
    assert torch.autograd.gradcheck(lambda h: loss_of(method, p, h)["total"], (h,))


@pytest.mark.parametrize("relation", ["gram", "rkd", "row"])
def test_a_row_of_weight_zero_is_not_there(relation: str) -> None:
    p, method = many(), EIKD(relation=relation)  # type: ignore[arg-type]
    weight = torch.tensor([1.0, 2.0, 0.0, 1.0, 0.5, 1.0, 1.0])
    h, state = torch.from_numpy(p.h).requires_grad_(True), method.prepare(p)
    u = torch.from_numpy(p.u)
    total = method.loss(student_out(h), TeacherOut(u=u, weight=weight), state)["total"]
    total.backward()
    assert h.grad is not None
    assert h.grad[2].abs().max() == 0
    kept = weight > 0
    fewer = method.loss(student_out(h[kept]), TeacherOut(u=u[kept], weight=weight[kept]), state)["total"]
    assert fewer.item() == pytest.approx(total.item(), rel=1e-5)


def test_equal_weights_are_no_weights() -> None:
    for relation in ("gram", "rkd", "row"):
        p, method = many(), EIKD(relation=relation)  # type: ignore[arg-type]
        state, out, u = method.prepare(p), student_out(torch.from_numpy(p.h)), torch.from_numpy(p.u)
        plain = method.loss(out, TeacherOut(u=u), state)
        weighted = method.loss(out, TeacherOut(u=u, weight=torch.full((7,), 3.0)), state)
        assert all(math.isclose(plain[k].item(), weighted[k].item(), rel_tol=1e-6) for k in plain)


def test_equal_photos_stay_finite() -> None:
    h = torch.ones(4, 16, dtype=torch.float64, requires_grad=True)
    for relation in ("gram", "rkd", "row"):
        loss_of(EIKD(relation=relation), problem(batch=4, classes=12), h)["total"].backward()  # type: ignore[arg-type]
    assert h.grad is not None
    assert torch.isfinite(h.grad).all()


@pytest.mark.parametrize("wrong", [{"least": 1}, {"mass": 1.5}, {"explicit": -1.0}, {"tau": 0.0}, {"drop": "some"}])
def test_options_out_of_range_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        EIKD(**wrong)  # type: ignore[arg-type]
