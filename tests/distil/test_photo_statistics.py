from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from edgedistill.distil.photo_statistics import made_alone, move_statistics, move_to_photos, photos_beside_made
from edgedistill.distil.student import Student
from edgedistill.teacher.row_facts import RowFacts
from edgedistill.teacher.store import TeacherStore

from .colours import SIZE, fresh_student

PRIOR = 16
MADE = 20  # of the store's rows, the first ones


@pytest.fixture
def both(store: TeacherStore) -> TeacherStore:
    """A store whose first rows are images that were made."""
    found = copy.copy(store)
    classes = np.where(np.arange(len(store)) < MADE, 0, -1)
    found.facts = RowFacts(np.ones(len(store)), classes)
    return found


def network() -> nn.Sequential:
    """Two BatchNorm layers that remember something, and one that does not."""
    torch.manual_seed(0)
    made = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.BatchNorm2d(5)
    )
    made(torch.randn(32, 3, 8, 8))
    made[5].reset_running_stats()  # type: ignore[operator]
    return made.eval()


def norm_of(made: nn.Sequential, index: int) -> tuple[np.ndarray, np.ndarray]:
    layer = made[index]
    assert isinstance(layer, nn.BatchNorm2d)
    assert layer.running_mean is not None
    assert layer.running_var is not None
    return layer.running_mean.numpy().copy(), layer.running_var.numpy().copy()


def taught(student: Student) -> None:
    """Every layer remembers something."""
    student.train()(torch.randint(256, (8, SIZE, SIZE, 3), dtype=torch.uint8))


def test_a_layer_takes_the_weighted_mean_of_what_it_remembers_and_what_it_sees() -> None:
    made, batch = network(), 3 * torch.randn(6, 3, 8, 8) + 1
    (mean, variance), photos = norm_of(made, 1), 4
    seen = made[0](batch).detach().numpy()
    move_statistics(made, batch, photos=photos, prior=PRIOR)
    share = photos / (PRIOR + photos)
    np.testing.assert_allclose(norm_of(made, 1)[0], (1 - share) * mean + share * seen.mean((0, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(norm_of(made, 1)[1], (1 - share) * variance + share * seen.var((0, 2, 3)), rtol=1e-4)


def test_a_later_layer_sees_the_photos_through_the_new_statistics_of_those_before() -> None:
    made, batch, photos = network(), 3 * torch.randn(6, 3, 8, 8) + 1, 4
    mean, share = norm_of(made, 4)[0], photos / (PRIOR + photos)
    move_statistics(made, batch, photos=photos, prior=PRIOR)
    seen = made[:4](batch).detach().numpy()  # the first layer is the moved one by now
    np.testing.assert_allclose(norm_of(made, 4)[0], (1 - share) * mean + share * seen.mean((0, 2, 3)), atol=1e-5)


def test_what_nobody_taught_yet_stays_and_so_does_the_mode() -> None:
    made = network().train()
    assert move_statistics(made, torch.randn(6, 3, 8, 8), photos=4, prior=PRIOR) == 2
    np.testing.assert_array_equal(norm_of(made, 5)[0], 0)
    assert made.training


def test_the_more_photos_the_further() -> None:
    apart = []
    for photos in (1, 10, 100):
        made, batch = network(), torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1)) + 2
        seen = made[0](batch).detach().numpy().mean((0, 2, 3))
        move_statistics(made, batch, photos=photos, prior=PRIOR)
        apart.append(np.abs(norm_of(made, 1)[0] - seen).max())
    assert apart[0] > apart[1] > apart[2] > 0


def test_photos_are_told_from_what_was_made_and_matter_only_beside_it(store: TeacherStore, both: TeacherStore) -> None:
    every = np.arange(len(store))
    assert photos_beside_made(both, every).tolist() == every[MADE:].tolist()
    assert len(photos_beside_made(both, every[:MADE])) == 0
    assert len(photos_beside_made(both, every[MADE:])) == 0
    assert len(photos_beside_made(store, every)) == 0
    assert made_alone(both, every[:MADE])
    assert not made_alone(both, every)
    assert not made_alone(store, every)


def test_a_student_moves_alike_for_a_seed_and_learns_nothing_by_it(both: TeacherStore) -> None:
    start, photos = fresh_student(), photos_beside_made(both, np.arange(len(both)))
    taught(start)
    first, again = copy.deepcopy(start), copy.deepcopy(start)
    for student in (first, again):
        assert move_to_photos(student, both, photos, prior=PRIOR, size=SIZE, seed=3) > 0
    mine, theirs, before = (dict(student.named_buffers()) for student in (first, again, start))
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert any(not torch.equal(mine[name], before[name]) for name in mine)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), start.parameters()))


def test_one_photo_is_enough_and_many_are_one_batch(both: TeacherStore) -> None:
    for photos in (np.array([MADE]), np.tile(np.arange(MADE, len(both)), 50)):
        student = fresh_student()
        taught(student)
        assert move_to_photos(student, both, photos, prior=PRIOR, size=SIZE, seed=0) > 0
