from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from edgedistill.distil.batches import epoch_plan, prefetch


def test_an_epoch_holds_every_image_once_and_v_epochs_every_view() -> None:
    rows = np.array([3, 5, 8, 13, 21, 34, 55])
    seen: dict[int, list[int]] = {int(row): [] for row in rows}
    for epoch in range(4):
        steps = epoch_plan(0, epoch, rows, 4, batch=3)
        assert sorted(np.concatenate([r for r, _ in steps])) == sorted(rows)
        assert {len(r) for r, _ in steps} <= {3, 4}
        for row, view in zip(np.concatenate([r for r, _ in steps]), np.concatenate([v for _, v in steps])):
            seen[int(row)].append(int(view))
    assert all(sorted(views) == [0, 1, 2, 3] for views in seen.values())
    assert len({tuple(views) for views in seen.values()}) > 1
    first, again, other = (np.concatenate([r for r, _ in epoch_plan(s, 0, rows, 4, 3)]) for s in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


def test_batches_come_in_order_from_one_thread_a_little_ahead() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        assert threading.current_thread() is not threading.main_thread()
        return number * number

    results: Iterator[int] = prefetch(make, ((n,) for n in range(10)), ahead=2)
    assert next(results) == 0
    assert len(made) <= 4
    assert list(results) == [n * n for n in range(1, 10)]


def test_an_error_while_reading_a_batch_reaches_the_loop() -> None:
    with pytest.raises(ZeroDivisionError):
        list(prefetch(lambda n: 1 // n, ((n,) for n in (1, 0, 1))))
