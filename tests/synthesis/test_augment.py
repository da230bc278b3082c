"""Views of images under way: each another, none outside the image, and nothing done where nothing is asked."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from edgedistill.synthesis.augment import Augment, NoiseBank, Views, blurred, grid_of

NOTHING = Augment(least=1, roll=0, turn=0, stretch=0, colour=0, noise=0, blur=0)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def viewed(augment: Augment, images: Tensor, count: int, size: int) -> Tensor:
    """[N, count, 3, size, size], in 0..1 but for colour and noise."""
    noise = NoiseBank(len(images) * count * size * size * 3, torch.float32, random(9))
    views = augment.views(images, count, size, random(), noise)
    return views.pixels(torch.ones(3, 1, 1), torch.zeros(3, 1, 1), images.dtype).view(-1, count, 3, size, size)


def test_without_any_range_a_view_is_the_image_or_its_mirror_image() -> None:
    images = torch.rand(3, 3, 20, 20, generator=random(1))
    mirrored = 0
    for views, image in zip(viewed(NOTHING, images, 4, 20), images):
        for seen in views:
            same, other = ((seen - one).abs().max() < 1e-4 for one in (image, image.flip(-1)))
            assert same or other
            mirrored += bool(other)
    assert 0 < mirrored < 12


def test_views_differ_from_each_other_and_from_image_to_image() -> None:
    images = torch.rand(1, 3, 20, 20, generator=random(1)).repeat(2, 1, 1, 1)
    views = viewed(Augment(), images, 3, 16)
    assert views.shape == (2, 3, 3, 16, 16)
    distances = torch.cdist(views.flatten(0, 1).flatten(1), views.flatten(0, 1).flatten(1))
    assert (distances + 100 * torch.eye(6)).min() > 1


def test_what_is_cropped_or_rolled_comes_from_the_image_alone() -> None:
    images = torch.rand(4, 3, 20, 20, generator=random(1)) * 0.25 + 0.5
    views = viewed(Augment(colour=0, noise=0), images, 8, 16)
    assert views.min() >= 0.5 - 1e-6
    assert views.max() <= 0.75 + 1e-6


def test_a_rolled_image_of_stripes_keeps_all_of_them() -> None:
    stripes = torch.zeros(1, 3, 16, 16)
    stripes[..., ::2] = 1
    moved = viewed(Augment(least=1, roll=0.5, turn=0, stretch=0, colour=0, noise=0, blur=0), stripes, 32, 16)
    assert (moved.mean(dim=(2, 3, 4)) - 0.5).abs().max() < 0.04


def test_gradients_reach_the_image_from_every_view() -> None:
    images = torch.full((2, 3, 12, 12), 0.5, requires_grad=True)
    viewed(Augment(), images, 8, 12).sum().backward()
    assert images.grad is not None
    assert (images.grad != 0).float().mean() > 0.95


def test_gradients_are_those_of_finite_differences() -> None:
    images = torch.rand(2, 3, 5, 5, generator=random(1), dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: viewed(Augment(), x, 2, 4), (images,))
    share = torch.rand(2, 1, 1, 1, generator=random(2), dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: blurred(x, share), (images,))


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_blur_mixes_in_the_mean_of_nine_with_repeated_edges(size: int) -> None:
    images = torch.rand(3, 2, size, size, generator=random(1), dtype=torch.float64)
    share = torch.tensor([0.0, 0.3, 1.0]).double().view(3, 1, 1, 1)
    means = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    assert torch.allclose(blurred(images, share), (1 - share) * images + share * means)


def test_places_are_those_of_an_affine_map_wrapped_round() -> None:
    places = 2 * torch.randn(5, 2, 3, generator=random(1), dtype=torch.float64)
    right = torch.remainder(F.affine_grid(places, [5, 3, 9, 9], align_corners=False) + 1, 2) - 1
    assert torch.allclose(grid_of(places, 9), right)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_colour_noise_and_normalisation_in_one_are_those_one_after_the_other(dtype: torch.dtype) -> None:
    n, count, size, made = 2, 3, 4, random(1)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(shape, generator=made)

    views = Views(
        drawn(n, 3, count, size * size),
        drawn(n, 3, count, 1),
        drawn(n, 3, count, 1),
        drawn(n * count, 1, 1, 1),
        torch.randn(n * count, size, size, 3, generator=made),
    )
    gain, offset = drawn(3, 1, 1) + 3, -drawn(3, 1, 1)
    found = views.pixels(gain, offset, dtype)
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)
    for i in range(n):
        for k in range(count):
            own = (views.gain * views.seen + views.base)[i, :, k].view(3, size, size)
            noise = views.noise[i * count + k].permute(2, 0, 1) * views.spread[i * count + k] * gain.mean()
            close: dict[str, Any] = {"atol": 1e-5} if dtype == torch.float32 else {"atol": 0.06}
            assert torch.allclose(found[i * count + k].float(), own * gain + offset + noise, **close)


def test_noise_is_normal_and_no_draw_is_like_the_one_before() -> None:
    bank = NoiseBank(6000, torch.float32, random())
    first, second = bank.draw((20, 10, 10, 3)), bank.draw((20, 10, 10, 3))
    assert abs(float(first.mean())) < 0.05
    assert abs(float(first.std()) - 1) < 0.05
    assert not torch.equal(first, second)
    assert abs(float((first * second).mean())) < 0.05
    again = NoiseBank(6000, torch.float32, random())
    assert torch.equal(again.draw((20, 10, 10, 3)), first)
    assert torch.equal(again.draw((20, 10, 10, 3)), second)
