"""The terms, against slow plain numpy and against finite differences."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgedistill.synthesis.objective import (
    BatchNormStatistics,
    _Moments,
    cosine,
    cross_entropy,
    energy,
    likeness,
    total_variation,
)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def unit(*shape: int, seed: int = 0) -> Tensor:
    return nn.functional.normalize(drawn(*shape, seed=seed), dim=-1)


def remembering() -> nn.Module:
    """A network in float64 with two BatchNorm layers that have seen images, one that has not, and one folded away."""
    torch.manual_seed(0)
    parts = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.BatchNorm2d(5))
    network = nn.Sequential(*parts, nn.BatchNorm2d(5, track_running_stats=False)).double()
    network[:5](drawn(16, 3, 9, 9, seed=5))
    return network.eval().requires_grad_(False)


PIXELS = ((0.5, 0.4, 0.3), (0.2, 0.25, 0.3))


def test_cosine_and_cross_entropy_are_means_over_views() -> None:
    features, targets, vectors = unit(4, 3, 6), unit(4, 6, seed=1), unit(5, 6, seed=2)
    shares = torch.tensor([[1.0, 0, 0, 0, 0], [0, 0.6, 0.4, 0, 0], [0, 0, 0, 0, 1], [0, 0, 1, 0, 0]]).double()
    for n in range(4):
        near, lost = [], []
        for k in range(3):
            u = features[n, k].numpy()
            near.append(u @ targets[n].numpy())
            odds = np.exp(20 * vectors.numpy() @ u)
            lost.append(-(shares[n].numpy() * np.log(odds / odds.sum())).sum())
        assert cosine(features, targets)[n] == pytest.approx(np.mean(near))
        assert cross_entropy(features, vectors, 20.0, shares)[n] == pytest.approx(np.mean(lost))


def test_total_variation_sums_four_directions() -> None:
    images = drawn(2, 3, 5, 6)
    for n in range(2):
        total = 0.0
        for down, across in ((0, 1), (1, 0), (1, 1), (1, -1)):
            found = []
            for c in range(3):
                for y in range(5 - down):
                    for x in range(max(0, -across), 6 - max(0, across)):
                        found.append(abs(float(images[n, c, y + down, x + across] - images[n, c, y, x])))
            total += np.mean(found)
        assert total_variation(images)[n] == pytest.approx(total)


def test_a_constant_image_has_no_variation_and_grey_no_energy() -> None:
    grey = torch.full((2, 3, 8, 8), 0.5)
    assert total_variation(grey + 0.3).tolist() == [0, 0]
    assert energy(grey).tolist() == [0, 0]
    assert energy(grey + 0.5).tolist() == [pytest.approx(0.25 * 192)] * 2


def test_likeness_is_the_mean_cosine_with_the_others_of_the_class() -> None:
    features, classes = unit(6, 3, 4), torch.tensor([0, 1, 0, 0, 1, 2])
    mean = features.numpy().mean(axis=1)
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    for i in range(6):
        others = [mean[i] @ mean[j] for j in range(6) if j != i and classes[j] == classes[i]]
        assert likeness(features, classes)[i] == pytest.approx(np.mean(others) if others else 0.0)


def test_statistics_are_compared_layer_by_layer_where_images_were_seen() -> None:
    network, images = remembering(), drawn(4, 3, 9, 9, seed=7) * 0.2 + 0.5
    values, layers = (images - torch.tensor(PIXELS[0]).view(3, 1, 1)) / torch.tensor(PIXELS[1]).view(3, 1, 1), []
    for layer in network[:5]:
        if isinstance(layer, nn.BatchNorm2d):
            rows = values.numpy().transpose(1, 0, 2, 3).reshape(values.shape[1], -1)
            spread = np.sqrt(layer.running_var.numpy() + layer.eps)
            off = ((rows.mean(1) - layer.running_mean.numpy()) / spread) ** 2
            layers.append(np.mean(off + (np.sqrt(rows.var(1) + layer.eps) / spread - 1) ** 2))
        values = layer(values)
    assert float(BatchNormStatistics(network, *PIXELS).distance(images)) == pytest.approx(np.mean(layers), rel=1e-6)


def test_a_mean_far_beside_the_spread_costs_no_digits() -> None:
    values = drawn(8, 2, 16, 16) * torch.tensor([0.01, 1.0]).view(2, 1, 1) + torch.tensor([300.0, -20.0]).view(2, 1, 1)
    about = torch.tensor([299.98, -19.0])
    mean, variance = _Moments.apply(values.float(), about)
    right_variance, right_mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)
    np.testing.assert_allclose(mean.numpy(), right_mean.numpy(), rtol=1e-6)
    # Numbers near 300 are themselves 3e-5 apart.
    np.testing.assert_allclose(variance.numpy(), right_variance.numpy(), rtol=5e-3)
    plain = values.float().square().mean(dim=(0, 2, 3)) - values.float().mean(dim=(0, 2, 3)).square()
    assert abs(plain[0] / right_variance[0] - 1) > 0.5  # without the shift little of it is left


def test_gradients_are_those_of_the_plain_formula_in_float32_and_float64() -> None:
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-10)):
        values = (2 * drawn(4, 3, 6, 6) + 1).to(dtype).requires_grad_()
        weights = drawn(2, 3, seed=1).to(dtype)
        variance, mean = torch.var_mean(values, dim=(0, 2, 3), correction=0)
        (right,) = torch.autograd.grad((weights * torch.stack([mean, variance])).sum(), values)
        found = torch.stack(_Moments.apply(values, torch.ones(3, dtype=dtype)))
        (mine,) = torch.autograd.grad((weights * found).sum(), values)
        assert torch.allclose(mine, right, rtol=tolerance, atol=tolerance * float(right.abs().max()))


def test_images_as_they_were_remembered_are_at_no_distance() -> None:
    network = nn.Sequential(nn.BatchNorm2d(3, momentum=None)).double()
    images = drawn(64, 3, 8, 8) * 2 + 1
    network(images)
    assert float(BatchNormStatistics(network.eval(), (0, 0, 0), (1, 1, 1)).distance(images)) < 1e-6


def test_a_network_leaves_no_hooks_behind_and_one_without_memory_is_refused() -> None:
    network = remembering()
    BatchNormStatistics(network, *PIXELS).distance(drawn(2, 3, 9, 9))
    assert not any(layer._forward_pre_hooks for layer in network)
    with pytest.raises(ValueError, match="no BatchNorm layer"):
        BatchNormStatistics(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval(), *PIXELS)


def test_gradients_are_those_of_finite_differences() -> None:
    statistics = BatchNormStatistics(remembering(), *PIXELS)
    images = (0.3 * drawn(2, 3, 6, 6) + 0.5).requires_grad_()
    for term in (total_variation, energy, statistics.distance):
        assert torch.autograd.gradcheck(term, (images,))
    features, classes = unit(4, 2, 5).requires_grad_(), torch.tensor([0, 1, 0, 1])
    targets, vectors, shares = unit(4, 5, seed=1), unit(3, 5, seed=2), torch.full((4, 3), 1 / 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda u: cosine(u, targets), (features,))
    assert torch.autograd.gradcheck(lambda u: cross_entropy(u, vectors, 10.0, shares), (features,))
    assert torch.autograd.gradcheck(lambda u: likeness(u, classes), (features,))
