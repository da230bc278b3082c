from __future__ import annotations

import pytest
import torch

from edgedistill.distil.schedule import Schedule

from .colours import config


@pytest.mark.parametrize(
    ("views", "policy", "etas"),
    [
        (8, "blend", [0.0, 0.25, 0.5, 0.5]),
        (3, "blend", [0, 0, 0, 0]),
        (8, "match", [0, 0, 0, 0]),
        (8, "mean", [1, 1, 1, 1]),
    ],
)
def test_the_mean_view_target_rises_over_the_first_fifth(views: int, policy: str, etas: list[float]) -> None:
    schedule = Schedule(config=config(views=policy), steps=100, views=views)
    assert [schedule.at(step).eta for step in (0, 10, 20, 99)] == pytest.approx(etas)
    assert schedule.needs_mean == (max(etas) > 0)


@pytest.mark.parametrize("policy", ["match", "mean", "blend"])
def test_rates_in_tensors_are_those_in_numbers_and_a_policy_without_a_blend_stays_a_number(policy: str) -> None:
    schedule = Schedule(config=config(views=policy), steps=100, views=8)
    rates = schedule.in_tensors(0, torch.device("cpu"))
    assert isinstance(rates.eta, torch.Tensor) == (policy == "blend")
    for step in (0, 7, 60):
        rates.fill(schedule.at(step))
        expected = schedule.at(step)
        assert (float(rates.lr), float(rates.eta), float(rates.decay)) == (expected.lr, expected.eta, expected.decay)
