from __future__ import annotations

import copy

import torch
from torch import nn

from edgedistill.distil.unfold import is_folded, unfold


def small_network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 4, 3, padding=1, stride=2), nn.BatchNorm2d(4), nn.ReLU(),
    )  # fmt: skip


def folded_network() -> nn.Sequential:
    """As converted from a deployed model: the convolutions hold every scale, the BatchNorm only a bias."""
    torch.manual_seed(0)
    network = small_network().eval()
    for layer, norm in ((network[0], network[1]), (network[3], network[4])):
        assert isinstance(layer, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d)
        nn.init.normal_(layer.weight, std=0.5)
        nn.init.normal_(norm.bias)
        norm.weight.data.fill_((1 + norm.eps) ** 0.5)
    return network


def images(n: int = 64) -> torch.Tensor:
    return torch.randn(n, 3, 12, 12, generator=torch.Generator().manual_seed(1))


def test_a_folded_start_is_told_from_a_fresh_and_from_a_trained_network() -> None:
    trained = small_network()
    trained(images())
    assert is_folded(folded_network())
    assert not is_folded(small_network())
    assert not is_folded(trained)
    assert not is_folded(nn.Linear(2, 2))


def test_unfolding_keeps_the_function_in_evaluation_and_gives_it_to_training() -> None:
    network = folded_network()
    before, destroyed = network(images()), copy.deepcopy(network).train()(images())
    assert unfold(network, images().split(16)) == 2
    after, training = network.eval()(images()), copy.deepcopy(network).train()(images())
    assert torch.allclose(after, before, atol=1e-5)
    assert torch.allclose(training, before, atol=1e-4)  # on the whole sample the batch's statistics are these
    assert (destroyed - before).abs().max() > 0.5  # what training would have started from
    assert not is_folded(network)


def test_statistics_are_those_of_the_images() -> None:
    network = folded_network()
    unfold(network, images().split(16))
    x = network[0](images())
    norm = network[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert torch.allclose(norm.running_mean, x.mean((0, 2, 3)), atol=1e-5)  # type: ignore[arg-type]
    assert torch.allclose(norm.running_var, x.var((0, 2, 3), unbiased=False), atol=1e-4)  # type: ignore[arg-type]
