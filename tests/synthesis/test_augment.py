"""Views of images under way: each another, none outside the image, and nothing done where nothing is asked."""

from __future__ import annotations

import torch

from edgedistill.synthesis.augment import Augment

NOTHING = Augment(least=1, roll=0, turn=0, stretch=0, colour=0, noise=0, blur=0)


def random(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_without_any_range_a_view_is_the_image_or_its_mirror_image() -> None:
    images = torch.rand(3, 3, 20, 20, generator=random(1))
    views = NOTHING.views(images, 4, 20, random()).view(4, 3, 3, 20, 20)
    mirrored = 0
    for view in views:
        for seen, image in zip(view, images):
            same, other = ((seen - one).abs().max() < 1e-4 for one in (image, image.flip(-1)))
            assert same or other
            mirrored += bool(other)
    assert 0 < mirrored < 12


def test_views_differ_from_each_other_and_from_image_to_image() -> None:
    images = torch.rand(1, 3, 20, 20, generator=random(1)).repeat(2, 1, 1, 1)
    views = Augment().views(images, 3, 16, random())
    assert views.shape == (6, 3, 16, 16)
    distances = torch.cdist(views.flatten(1), views.flatten(1))
    assert (distances + 100 * torch.eye(6)).min() > 1


def test_what_is_cropped_or_rolled_comes_from_the_image_alone() -> None:
    images = torch.rand(4, 3, 20, 20, generator=random(1)) * 0.25 + 0.5
    views = Augment(colour=0, noise=0).views(images, 8, 16, random())
    assert views.min() >= 0.5
    assert views.max() <= 0.75 + 1e-6


def test_a_rolled_image_of_stripes_keeps_all_of_them() -> None:
    stripes = torch.zeros(1, 3, 16, 16)
    stripes[..., ::2] = 1
    moved = Augment(least=1, roll=0.5, turn=0, stretch=0, colour=0, noise=0, blur=0).views(stripes, 32, 16, random())
    means = moved.mean(dim=(1, 2, 3))
    assert (means - 0.5).abs().max() < 0.04


def test_gradients_reach_the_image_from_every_view() -> None:
    images = torch.full((2, 3, 12, 12), 0.5, requires_grad=True)
    Augment().views(images, 8, 12, random()).sum().backward()
    assert images.grad is not None
    assert (images.grad != 0).float().mean() > 0.95
