"""Bound buffers give the answers of a plain call, also to several threads at once, and hand out arrays of their own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from bundles import colour_model, colour_pixels

from edgedistill.targets.ort import Session
from edgedistill.targets.providers import Settings

BOUND = Settings(io_binding=True)


def session(folder: Path, batch: int | str = 1, settings: Settings = BOUND) -> Session:
    onnx.save(colour_model(batch), folder / "model.onnx")
    return Session(folder / "model.onnx", threads=1, settings=settings)


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("count", [1, 4, 7])
def test_a_bound_session_answers_as_a_plain_one(tmp_path: Path, batch: int, count: int) -> None:
    bound, pixels = session(tmp_path, batch), colour_pixels(count)[0]
    assert bound.describe()["io_binding"] is True
    for got, wanted in zip(bound.run(pixels), session(tmp_path, batch, Settings()).run(pixels)):
        assert np.array_equal(got, wanted)
    bound.close()


def test_an_answer_is_not_changed_by_the_next_call(tmp_path: Path) -> None:
    bound, (red, green) = session(tmp_path), (colour_pixels(2)[0][:1], colour_pixels(2)[0][1:])
    first = bound.run(red)
    kept = [array.copy() for array in first]
    bound.run(green)
    assert all(np.array_equal(a, b) for a, b in zip(first, kept))


def test_images_need_not_lie_in_one_piece(tmp_path: Path) -> None:
    pixels = colour_pixels(1)[0]
    turned = pixels.swapaxes(1, 2)
    wanted = session(tmp_path, settings=Settings()).run(np.ascontiguousarray(turned))
    assert np.array_equal(session(tmp_path).run(turned).probabilities, wanted.probabilities)


def test_threads_that_share_it_get_their_own_answers(tmp_path: Path) -> None:
    bound, (pixels, classes) = session(tmp_path), colour_pixels(60)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda image: int(bound.run(image[None]).probabilities.argmax()), pixels))
    assert found == classes.tolist()


def test_a_free_batch_is_not_bound_and_says_so(tmp_path: Path) -> None:
    free = session(tmp_path, "batch")
    assert free.describe()["io_binding"] is False
    assert len(free.run(colour_pixels(3)[0]).known) == 3
