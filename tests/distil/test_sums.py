from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from edgedistill.distil.methods.base import NonFiniteLoss
from edgedistill.distil.sums import Steps, SumsAtOnce, SumsOnGpu

STEPS = Steps(epoch=2, count=5)


def found(total: float, node: float) -> dict[str, Tensor]:
    return {"total": torch.tensor(total), "node": torch.tensor(node)}


def test_sums_on_a_gpu_are_those_of_a_cpu_to_the_bit() -> None:
    at_once, kept, draw = SumsAtOnce(steps=STEPS), SumsOnGpu(steps=STEPS), torch.Generator().manual_seed(0)
    for k in range(5):
        numbers = torch.randn(2, generator=draw).tolist()
        for sums in (at_once, kept):
            sums.add(k, found(*numbers), 128 - k)
    assert kept.means() == at_once.means()


def test_on_a_cpu_a_number_that_is_not_finite_ends_the_epoch_at_its_step() -> None:
    sums = SumsAtOnce(steps=STEPS)
    sums.add(0, found(1, 1), 8)
    with pytest.raises(NonFiniteLoss, match=r"epoch 3, step 2 of 5: node = nan\n"):
        sums.add(1, found(1, math.nan), 8)


def test_on_a_gpu_the_first_number_that_was_not_finite_is_named_when_the_epoch_ends() -> None:
    sums = SumsOnGpu(steps=STEPS)
    for k, numbers in enumerate([(1, 1), (2, -math.inf), (math.nan, math.nan), (1, 1)]):
        sums.add(k, found(*numbers), 8)
    with pytest.raises(NonFiniteLoss, match=r"epoch 3, step 2 of 5: node = -inf\n"):
        sums.means()
