"""Both ways to write an image down: pixels in 0..1, coarse detail first, the same numbers for a seed."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from edgedistill.synthesis.canvas import FourierCanvas, PixelPyramid, squash

BOTH = pytest.mark.parametrize("canvas", [PixelPyramid, FourierCanvas])


def made(canvas: Any, size: int = 24, seed: int = 0) -> Any:
    return canvas(2, size, torch.Generator().manual_seed(seed))


@BOTH
@pytest.mark.parametrize("size", [1, 24, 32, 33])
def test_pixels_lie_in_0_to_1_however_large_the_numbers(canvas: Any, size: int) -> None:
    found = made(canvas, size)
    with torch.no_grad():
        for parameter in found.parameters():
            parameter.mul_(1e4)
    image = found()
    assert image.shape == (2, 3, size, size)
    assert image.min() >= 0
    assert image.max() <= 1


@BOTH
def test_a_seed_is_an_image(canvas: Any) -> None:
    assert torch.equal(made(canvas, seed=3)(), made(canvas, seed=3)())
    assert not torch.equal(made(canvas, seed=3)(), made(canvas, seed=4)())


@BOTH
def test_detail_that_takes_no_part_is_neither_seen_nor_learned(canvas: Any) -> None:
    found = made(canvas, 32)

    def roughness(detail: float) -> float:
        image = found(detail).detach()
        return float((image[..., 1:] - image[..., :-1]).abs().mean())

    assert roughness(0.3) < roughness(0.6) < roughness(1.0)
    found(0.3).sum().backward()
    finest = found.levels[-1].grad if canvas is PixelPyramid else found.spectrum.grad[:, :, 16, 16]
    assert finest is None or not finest.any()


def test_every_level_of_a_pyramid_is_twice_the_one_before() -> None:
    assert [level.shape[-1] for level in made(PixelPyramid, 96).levels] == [1, 2, 3, 6, 12, 24, 48, 96]


def test_nothing_is_grey_and_the_first_axis_is_brightness() -> None:
    logits = torch.zeros(1, 3, 1, 1)
    assert squash(logits).flatten().tolist() == [0.5, 0.5, 0.5]
    logits[0, 0] = 1
    assert torch.allclose(squash(logits), torch.tensor(1.0).sigmoid())


def test_colours_are_a_map_of_each_pixel_by_itself() -> None:
    logits = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    to_rgb = torch.stack([squash(one.double().view(1, 3, 1, 1)).logit().flatten() for one in torch.eye(3)], dim=1)
    assert torch.allclose(squash(logits), torch.einsum("ca,nahw->nchw", to_rgb, logits).sigmoid())
    assert torch.autograd.gradcheck(squash, (logits.requires_grad_(),))
