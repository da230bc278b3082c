"""How long it takes is told once, by the second step; the bar moves with every step and arrives."""

from __future__ import annotations

import re
import time
from pathlib import Path

import numpy as np
import pytest
from painter import Painter, made_of_words

from edgedistill.synthesis.blocks import Blocks
from edgedistill.synthesis.pace import Pace, span


class Bar:
    """Remembers what it was told, as a Progress."""

    def __init__(self) -> None:
        self.moves: list[int] = []

    def start(self, title: str, total: int) -> None:
        self.total = total

    def advance(self, n: int = 1, note: str = "") -> None:
        self.moves.append(n)

    def done(self) -> None: ...


def test_the_second_step_says_how_long_all_blocks_take(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    now = iter([100.0, 103.0, 110.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    bar = Bar()
    pace = Pace("images to make", 48, bar)
    pace.begin(12)
    pace.stepped(1, 40)
    assert caplog.messages == []
    pace.stepped(2, 40)
    assert caplog.messages == ["48 images to make: about 8 min"]  # 3 s x 40 steps x 4 blocks
    for step in range(3, 41):
        pace.stepped(step, 40)
    pace.end()
    assert len(caplog.messages) == 1
    assert sum(bar.moves) == 12
    assert set(bar.moves) == {0, 1}


@pytest.mark.parametrize(("steps", "told"), [(3, r"^16 images to make: about"), (0, r"^11 images to make: about")])
def test_blocks_are_told_of_before_the_first_one_is_done_where_the_engine_counts_steps(
    steps: int, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    bar, prompts, rows = Bar(), made_of_words(4), np.arange(16)

    def look(images: np.ndarray) -> np.ndarray:
        return np.ones((len(images), 4), np.float32)

    Blocks(tmp_path, rows).make(Painter(steps=steps), prompts, 0, look, bar)
    (message,) = caplog.messages
    assert re.match(told, message)
    assert (sum(bar.moves), bar.total) == (16, 16)


def test_a_time_is_in_the_unit_that_one_would_say() -> None:
    assert [span(seconds) for seconds in (40, 89, 720, 12_600)] == ["40 s", "89 s", "12 min", "3.5 h"]
