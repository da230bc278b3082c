"""Images made under a convolution and a pool: nearer to their prompts with every step, the same bytes for a seed."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgedistill.synthesis.augment import Augment
from edgedistill.synthesis.objective import BatchNormStatistics
from edgedistill.synthesis.teacher_engine import CANVASES, ImageRecipe, Sight, TeacherEngine, detail_at, half_of

CALM = Augment(least=0.8, roll=0.05, turn=5, stretch=0.05, colour=0.05, noise=0.02)
QUICK = ImageRecipe(size=24, look=24, views=4, steps=30, batch=6, lr=0.1, variation=0.1, likeness=0.0, augment=CALM)
ROWS = np.arange(6)


def cosines(sight: Sight, images: np.ndarray, prompts: Any) -> np.ndarray:
    """[N]: of finished images with their targets."""
    pixels = torch.as_tensor(images).permute(0, 3, 1, 2) / 255
    return (sight.features(pixels).numpy() * prompts.targets).sum(axis=1)


@pytest.mark.parametrize("canvas", CANVASES)
def test_the_teacher_sees_more_and_more_of_the_prompt(sight: Sight, prompts: Any, canvas: Any) -> None:
    recipe = dataclasses.replace(QUICK, canvas=canvas)
    engine = TeacherEngine([sight], recipe)
    generator = torch.Generator().manual_seed(0)
    seen = engine.improve(CANVASES[canvas](6, 24, generator), engine.goal(prompts, ROWS), generator)
    best = torch.cummax(seen, dim=0).values
    sixths = best[::6]
    assert seen.shape == (30,)
    assert (sixths.diff() >= 0).all()
    assert best[-1] > seen[0] + 0.3


def test_finished_images_are_pixels_that_show_their_class(sight: Sight, prompts: Any) -> None:
    images = TeacherEngine([sight], QUICK).images(prompts, ROWS, seed=0)
    assert (images.dtype, images.shape) == (np.uint8, (6, 24, 24, 3))
    assert images.std() > 10
    pixels = torch.as_tensor(images).permute(0, 3, 1, 2) / 255
    assert (sight.features(pixels) @ sight.class_vectors.T).argmax(1).tolist() == prompts.classes.tolist()


def test_same_seed_same_bytes_and_no_image_twice(sight: Sight, prompts: Any) -> None:
    engine = TeacherEngine([sight], dataclasses.replace(QUICK, steps=3))
    first = engine.images(prompts, ROWS[:3], seed=1)
    assert np.array_equal(engine.images(prompts, ROWS[:3], seed=1), first)
    assert not np.array_equal(engine.images(prompts, ROWS[:3], seed=2), first)
    for mine, other in zip(engine.images(prompts, ROWS[3:], seed=1), first):  # prompts 3..5 are prompts 0..2 again
        assert not np.array_equal(mine, other)


def test_random_numbers_of_the_program_are_left_alone(sight: Sight, prompts: Any) -> None:
    before = torch.get_rng_state()
    TeacherEngine([sight], dataclasses.replace(QUICK, steps=2)).images(prompts, ROWS, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_step_passes_each_tower_once_and_gives_its_weights_no_gradient(sight: Sight, prompts: Any) -> None:
    passed: list[int] = []
    sight.tower.register_forward_hook(lambda tower, inputs, output: passed.append(len(inputs[0])))
    TeacherEngine([sight, sight], dataclasses.replace(QUICK, steps=2)).images(prompts, ROWS, seed=1)
    assert passed == [24] * 4
    assert all(parameter.grad is None for parameter in sight.tower.parameters())


def test_a_second_teacher_is_asked_for_the_class_in_its_own_space(sight: Sight, prompts: Any) -> None:
    torch.manual_seed(5)
    layers = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 7, bias=False))
    tower = nn.Sequential(*layers).eval().requires_grad_(False)
    noise = torch.rand(3, 3, 16, 16)
    vectors = nn.functional.normalize(tower(noise) - tower(noise).mean(0), dim=1)
    other = Sight(tower, 16, vectors, 20.0, (0, 0, 0), (1, 1, 1))

    def right(engine: TeacherEngine) -> Tensor:
        """The share of the second teacher's probability that is the prompt's class, by image."""
        pixels = torch.as_tensor(engine.images(prompts, ROWS, seed=0)).permute(0, 3, 1, 2) / 255
        odds = (20 * other.features(pixels) @ vectors.T).softmax(1)
        return odds[torch.arange(6), torch.as_tensor(prompts.classes)]

    alone, both = right(TeacherEngine([sight], QUICK)), right(TeacherEngine([sight, other], QUICK))
    assert both.mean() > alone.mean() + 0.2


def test_images_come_closer_to_the_statistics_they_are_to_have(sight: Sight, prompts: Any) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, momentum=None))
    network(torch.rand(32, 3, 24, 24) * 0.3 + 0.1)  # dark
    remembered = BatchNormStatistics(network.eval().requires_grad_(False), (0, 0, 0), (1, 1, 1))
    found = {}
    for weight in (0.0, 1.0):
        images = TeacherEngine([sight], dataclasses.replace(QUICK, statistics=weight), remembered).images(
            prompts, ROWS, seed=0
        )
        found[weight] = float(remembered.distance(torch.as_tensor(images).permute(0, 3, 1, 2) / 255))
    assert found[1.0] < 0.5 * found[0.0]


def test_detail_grows_from_a_third_to_all_of_it() -> None:
    recipe = ImageRecipe(steps=40, coarse=0.5)
    detail = [detail_at(recipe, step) for step in range(40)]
    assert detail == sorted(detail)
    assert 1 / 3 < detail[0] < 0.4
    assert detail[18] < 1
    assert detail[19:] == [1.0] * 21


def test_views_are_half_as_large_as_what_the_teacher_sees_unless_told(tiny_teacher: Any) -> None:
    vectors = np.eye(3, tiny_teacher.dim, dtype=np.float32)
    assert [half_of(size) for size in (193, 224, 32)] == [97, 113, 17]
    assert Sight.of(tiny_teacher, vectors, None).size == Sight.of(tiny_teacher, vectors, half_of(32)).size < 32
    assert Sight.of(tiny_teacher, vectors, 32).size == tiny_teacher.image_size == 32


def test_a_real_teacher_names_what_was_made_under_it(tiny_teacher: Any) -> None:
    from tiny_images import CLASSES

    vectors = tiny_teacher.encode_text([f"a photo of a {name}." for name in CLASSES])
    classes = np.arange(len(CLASSES))
    shares = np.eye(len(CLASSES), dtype=np.float32)
    prompts: Any = type("Prompts", (), {"classes": classes, "shares": shares, "targets": vectors})
    engine = TeacherEngine([Sight.of(tiny_teacher, vectors, 24)], dataclasses.replace(QUICK, size=32))
    images = engine.images(prompts, classes, seed=0)
    assert ((tiny_teacher.encode_images(images) @ vectors.T).argmax(1) == classes).mean() > 0.7
