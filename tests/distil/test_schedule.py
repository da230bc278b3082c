from __future__ import annotations

import pytest

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
