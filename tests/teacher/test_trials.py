"""Numbers and batch of a tower follow from what was measured, and never change what the teacher says."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch

from edgedistill.teacher import trials
from edgedistill.teacher.trials import choose_batch, choose_dtype

CPU = torch.device("cpu")
IMAGES = torch.zeros(16, 3, 4, 4)


class Tower(torch.nn.Module):
    """As slow in each dtype as `seconds` says; the feature depends on `offset` alone, and loses digits with it."""

    def __init__(self, offset: float = 0.0, seconds: dict[torch.dtype, float] | None = None) -> None:
        super().__init__()
        self.base = torch.nn.Parameter(torch.tensor([0.0, 1.0, -2.0]) + offset)
        self.offset, self.seconds = offset, seconds or {torch.float32: 0.05}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(self.seconds.get(x.dtype, 0.0))
        return (self.base - self.offset) + 0 * x.sum()


def test_bfloat16_is_chosen_where_it_is_faster_and_changes_nothing() -> None:
    assert choose_dtype(Tower(), IMAGES, CPU)[0] == "bfloat16"
    chosen, reason = choose_dtype(Tower(offset=1000.0), IMAGES, CPU)  # bfloat16 keeps three digits
    assert chosen == "float32"
    assert "lowest cosine" in reason


def test_features_that_are_not_finite_are_never_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "_half_precisions", lambda device: ("float16",))
    chosen, reason = choose_dtype(Tower(offset=1e5), IMAGES, CPU)  # beyond float16: infinite
    assert (chosen, "nan" in reason) == ("float32", True)


@pytest.mark.parametrize(
    ("bfloat16", "float16", "chosen"), [(0.01, 0.01, "float16"), (0.004, 0.04, "bfloat16"), (0.04, 0.004, "float16")]
)
def test_of_two_half_precisions_the_faster_wins_and_the_closer_where_both_are_as_fast(
    monkeypatch: pytest.MonkeyPatch, bfloat16: float, float16: float, chosen: str
) -> None:
    monkeypatch.setattr(trials, "_half_precisions", lambda device: ("bfloat16", "float16"))
    monkeypatch.setattr(trials, "ALIKE", 2.0)  # sleep is not exact
    seconds = {torch.float32: 0.06, torch.bfloat16: bfloat16, torch.float16: float16}
    assert choose_dtype(Tower(offset=3.3, seconds=seconds), IMAGES, CPU)[0] == chosen


def test_where_memory_is_short_half_the_images_are_tried() -> None:
    tried: list[int] = []

    class Small(Tower):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tried.append(len(x))
            if len(x) > 8:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().forward(x)

    assert choose_dtype(Small(), IMAGES, CPU)[0] == "bfloat16"
    assert (tried[0], tried[-1]) == (16, 8)


def test_no_memory_for_the_fewest_images_is_an_error() -> None:
    class Full(Tower):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        choose_dtype(Full(), IMAGES, CPU)


class Gpu:
    """Pretends to run views: a launch takes `launch_s`, a view `view_s`, and more than `most` do not fit."""

    def __init__(self, launch_s: float, view_s: float, most: int = 10_000) -> None:
        self.now, self.launch_s, self.view_s, self.most = 0.0, launch_s, view_s, most

    def run(self, views: int) -> None:
        if views > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.now += max(self.launch_s, views * self.view_s)

    def choose(self) -> tuple[int, str]:
        clock: Callable[[], float] = lambda: self.now  # noqa: E731
        return choose_batch(self.run, clock=clock)


def test_the_smallest_batch_that_keeps_the_gpu_busy_is_chosen() -> None:
    chosen, reason = Gpu(launch_s=0.02, view_s=0.0001).choose()  # full from 200 views on
    assert chosen == 256
    assert reason == "views a second by the batch: 64: 3,200, 128: 6,400, 256: 10,000, 512: 10,000, 1024: 10,000"


def test_a_small_tower_takes_the_largest_batch() -> None:
    assert Gpu(launch_s=1.0, view_s=0.0001).choose()[0] == 1024


def test_a_batch_that_does_not_fit_ends_the_trial() -> None:
    chosen, reason = Gpu(launch_s=1.0, view_s=0.0001, most=200).choose()
    assert chosen == 128
    assert "256" not in reason


def test_a_gpu_too_small_for_the_smallest_batch_says_so() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        Gpu(launch_s=1.0, view_s=0.0001, most=32).choose()
