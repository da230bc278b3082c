from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedistill.distil.plan import Plan, Step

ROWS = np.array([3, 5, 8, 13, 21, 34, 55])


def plan(**changes: int) -> Plan:
    return Plan(**{"seed": 0, "rows": ROWS, "views": 4, "batch": 3, "epochs": 4, **changes})  # type: ignore[arg-type]


def images(steps: list[Step]) -> np.ndarray:
    return np.concatenate([rows for rows, _ in steps])


def shown(steps: Iterable[Step]) -> list[tuple[int, int]]:
    """(row, view), in the order in which a run sees them."""
    return [(int(row), int(view)) for rows, views in steps for row, view in zip(rows, views)]


def test_an_epoch_of_equal_parts_holds_every_image_once_and_v_epochs_every_view() -> None:
    steps = [plan().epoch(epoch) for epoch in range(4)]
    assert all(sorted(images(epoch)) == sorted(ROWS) for epoch in steps)
    assert {len(rows) for epoch in steps for rows, _ in epoch} == {3, 4}
    seen = Counter(shown(chain(*steps)))
    assert seen == Counter((int(row), view) for row in ROWS for view in range(4))
    orders = {tuple(view for row, view in shown(chain(*steps)) if row == mine) for mine in ROWS}
    assert len(orders) > 1


def test_another_seed_shuffles_otherwise_and_the_same_one_alike() -> None:
    first, again, other = (images(plan(seed=seed).epoch(0)) for seed in (0, 0, 1))
    assert (first == again).all()
    assert (first != other).any()


@settings(deadline=None, max_examples=60)
@given(count=st.integers(1, 40), batch=st.integers(1, 45), views=st.integers(1, 5), epochs=st.integers(1, 7))
def test_fixed_batches_are_one_stream_of_whole_epochs(count: int, batch: int, views: int, epochs: int) -> None:
    rows = np.arange(count) * 3
    fixed = Plan(seed=2, rows=rows, views=views, batch=batch, epochs=epochs, fixed=True)
    parts = Plan(seed=2, rows=rows, views=views, batch=batch, epochs=epochs)
    by_epoch = [fixed.epoch(epoch) for epoch in range(epochs)]
    assert {r.shape for epoch in by_epoch for r, _ in epoch} == {(min(batch, count),)} == {(fixed.batch,)}
    ends = [0, *np.cumsum([len(epoch) for epoch in by_epoch])]
    assert ends == [fixed.end(epoch) for epoch in range(-1, epochs)]
    assert all(later > earlier for earlier, later in pairwise(ends))
    assert fixed.steps == ends[-1] == -(-epochs * count // fixed.batch)
    stream = shown(chain(*by_epoch))
    same = shown(chain(*(parts.epoch(epoch) for epoch in range(epochs + 1))))
    assert stream == same[: len(stream)]
    assert len(stream) >= epochs * count


@pytest.mark.parametrize("fixed", [False, True])
def test_every_view_of_an_image_comes_before_one_comes_again(fixed: bool) -> None:
    taken = plan(epochs=8, fixed=fixed)
    stream = shown(chain(*(taken.epoch(epoch) for epoch in range(8))))
    for mine in ROWS:
        views = [view for row, view in stream if row == mine]
        assert sorted(views[:4]) == sorted(views[4:8]) == [0, 1, 2, 3]
