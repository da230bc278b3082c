from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from edgedistill.distil.batches import prefetch


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
