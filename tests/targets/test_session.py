"""Any number of images becomes calls of the size a graph takes, and comes back in order and number."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.targets.errors import TargetError
from edgedistill.targets.session import MAX_BATCH, Outputs, check_images, keep_busy, run_in_batches


class Recorder:
    """A graph that returns each image's first value, and remembers how many images it was given at a time."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, images: np.ndarray) -> Outputs:
        self.calls.append(len(images))
        value = images[:, 0, 0, :1].astype(np.float32)
        return Outputs(value, value + 1, value[:, 0] + 2)


def numbered(count: int) -> np.ndarray:
    return np.arange(count, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)


@given(st.integers(1, 200), st.none() | st.integers(1, 70))
def test_every_image_is_answered_once_and_in_order(count: int, batch: int | None) -> None:
    graph = Recorder()
    outputs = run_in_batches(numbered(count), batch, graph)
    expected = np.arange(count, dtype=np.float32)
    assert np.array_equal(outputs.probabilities, expected[:, None])
    assert np.array_equal(outputs.embedding, expected[:, None] + 1)
    assert np.array_equal(outputs.known, expected + 2)
    assert set(graph.calls) == {batch} if batch else max(graph.calls) <= MAX_BATCH
    assert len(graph.calls) == -(-count // (batch or MAX_BATCH))


def test_what_fits_one_call_is_handed_on_uncopied() -> None:
    images = numbered(4)
    for batch in (4, None):
        seen: list[np.ndarray] = []
        run_in_batches(images, batch, lambda given, seen=seen: seen.append(given) or Recorder()(given))
        assert seen[0] is images


def test_a_warm_up_calls_three_times_at_least_with_what_the_graph_takes() -> None:
    for batch, size in ((None, 1), (5, 5)):
        graph = Recorder()
        keep_busy(16, batch, graph, 0)
        assert graph.calls == [size] * 3


def test_pixels_of_another_shape_are_refused_with_the_shape_wanted() -> None:
    with pytest.raises(TargetError, match=r"uint8 \[N, 16, 16, 3\], not uint8 \[1, 8, 16, 3\]"):
        check_images(np.zeros((1, 8, 16, 3), np.uint8), 16)
