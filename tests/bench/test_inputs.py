"""A model is fed with what its inputs ask for: shape, dtype and batch, at random or from a file, cut into queries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bundles import colour_pixels, png
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.bench.inputs import MOST_BYTES, Given, Input, batch_of, feeds
from edgedistill.errors import InputError

IMAGE = Input("image", "uint8", (None, 16, 16, 3))
PLANES = Input("x", "float32", (1, 3, 16, 16))
DTYPES = ("float32", "float16", "float64", "int64", "int32", "uint8", "int8", "bool")


@given(
    st.lists(st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(1, 4), max_size=3)), min_size=1, max_size=3),
    st.integers(1, 5),
)
def test_random_queries_have_the_shape_and_dtype_asked_for(kinds: list[tuple[str, list[int]]], batch: int) -> None:
    inputs = [Input(f"x{k}", dtype, (None, *shape)) for k, (dtype, shape) in enumerate(kinds)]
    queries = feeds(inputs, batch, Given())
    assert len(queries) > 1
    for query in queries:
        assert {name: (str(array.dtype), array.shape) for name, array in query.items()} == {
            one.name: (one.dtype, (batch, *one.shape[1:])) for one in inputs
        }


def test_random_numbers_are_bytes_of_all_values_shares_and_indices_that_fit_anything() -> None:
    drawn = {dtype: feeds([Input("x", dtype, (500,))], 500, Given())[0]["x"] for dtype in DTYPES}
    assert (drawn["uint8"].min(), drawn["uint8"].max()) == (0, 255) or np.ptp(drawn["uint8"]) > 240
    assert ((drawn["float16"] >= 0) & (drawn["float16"] <= 1)).all()
    assert set(drawn["int64"].tolist()) == set(drawn["int8"].tolist()) == {0, 1}


def test_a_large_input_has_fewer_different_queries() -> None:
    assert len(feeds([Input("x", "uint8", (MOST_BYTES // 2,))], 1, Given())) == 2


def test_the_batch_is_the_asked_one_where_it_is_free_and_the_graphs_own_where_not() -> None:
    assert batch_of([IMAGE], None) == 1
    assert batch_of([IMAGE], 8) == 8
    assert batch_of([Input("table", "int64", (7,)), IMAGE], 8) == 8
    assert batch_of([Input("x", "float32", (4, 2))], None) == 4
    assert batch_of([Input("x", "float32", (4, 2))], 4) == 4
    assert batch_of([Input("x", "float32", ())], None) == 1
    with pytest.raises(InputError, match="its batch is 4 and cannot be 8"):
        batch_of([Input("x", "float32", (4, 2))], 8)


def test_free_axes_need_a_shape() -> None:
    free = Input("x", "float32", (None, 3, None, None))
    with pytest.raises(InputError, match=r"free axes: \[2,3,\?,\?\]") as caught:
        feeds([free], 2, Given())
    assert "--shape x=2,3,224,224" in caught.value.todo
    assert feeds([free], 2, Given(shapes={"x": (1, 3, 8, 9)}))[0]["x"].shape == (2, 3, 8, 9)


def test_a_shape_with_another_batch_is_refused_and_not_overlooked() -> None:
    free = Input("x", "float32", (None, 3, 8, 8))
    with pytest.raises(InputError, match="x has 8 items in --shape, and a query has 1") as caught:
        feeds([free], 1, Given(shapes={"x": (8, 3, 8, 8)}))
    assert caught.value.todo == "Add --batch 8."
    assert feeds([free], 8, Given(shapes={"x": (8, 3, 8, 8)}))[0]["x"].shape == (8, 3, 8, 8)


@pytest.mark.parametrize("shape", [(1, 3, 8), (1, 4, 8, 8)])
def test_a_shape_that_is_not_the_inputs_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"x has the shape \[\?,3,\?,\?\], not "):
        feeds([Input("x", "float32", (None, 3, None, None))], 1, Given(shapes={"x": shape}))


@pytest.mark.parametrize(("batch", "queries"), [(1, 5), (2, 2), (5, 1), (7, 1)])
def test_an_array_is_cut_into_queries_in_its_order(tmp_path: Path, batch: int, queries: int) -> None:
    pixels, _ = colour_pixels(5)
    np.save(tmp_path / "images.npy", pixels)
    found = feeds([IMAGE], batch, Given(tmp_path / "images.npy"))
    assert len(found) == queries
    row = np.concatenate([query["image"] for query in found])
    assert np.array_equal(row, pixels[np.arange(len(row)) % 5])


def test_an_npz_holds_each_input_by_its_name(tmp_path: Path) -> None:
    inputs = [Input("ids", "int64", (None, 4)), Input("bias", "float32", (4,))]
    np.savez(tmp_path / "both.npz", ids=np.arange(12).reshape(3, 4), bias=np.ones(4), unused=np.zeros(1))
    found = feeds(inputs, 1, Given(tmp_path / "both.npz"))
    assert [query["ids"].tolist() for query in found] == [[[0, 1, 2, 3]], [[4, 5, 6, 7]], [[8, 9, 10, 11]]]
    assert all(query["bias"].dtype == np.float32 and query["bias"].shape == (4,) for query in found)


def test_a_file_gives_free_axes_their_length(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((2, 3, 5, 7), np.float32))
    found = feeds([Input("x", "float32", (None, 3, None, None))], 1, Given(tmp_path / "x.npy"))
    assert [query["x"].shape for query in found] == [(1, 3, 5, 7)] * 2


@pytest.mark.parametrize(
    ("one", "shape", "white"),
    [(IMAGE, (1, 16, 16, 3), 255), (PLANES, (1, 3, 16, 16), 1)],
    ids=["bytes, channels last", "floats, channels second"],
)
def test_an_image_is_resized_to_what_the_input_takes(
    tmp_path: Path, one: Input, shape: tuple[int, ...], white: int
) -> None:
    pixels, (channel,) = colour_pixels(1)
    (tmp_path / "photo.png").write_bytes(png(pixels[0]))
    (query,) = feeds([one], 1, Given(tmp_path / "photo.png"))
    array = query[one.name]
    assert (str(array.dtype), array.shape) == (one.dtype, shape)
    bright = array[0, ..., channel] if one is IMAGE else array[0, channel]
    grey_levels = bright.astype(np.float64) * 255 / white
    assert 119.5 < grey_levels.min() <= grey_levels.max() < 239.5


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent.npy", "cannot read"),
        ("pickled.npy", "cannot read"),
        ("narrow.npy", r"takes uint8 \[1,16,16,3\], not uint8 \[1,8,16,3\]"),
        ("signed.npy", r"not int64 \[1,16,16,3\]"),
        ("empty.npy", "not uint8"),
        ("other.npz", "lacks image"),
        ("text.jpg", "not an image"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path: Path, name: str, said: str) -> None:
    np.save(tmp_path / "pickled.npy", np.array([None]), allow_pickle=True)
    np.save(tmp_path / "narrow.npy", np.zeros((1, 8, 16, 3), np.uint8))
    np.save(tmp_path / "signed.npy", np.zeros((1, 16, 16, 3), np.int64))
    np.save(tmp_path / "empty.npy", np.zeros((0, 16, 16, 3), np.uint8))
    np.savez(tmp_path / "other.npz", picture=np.zeros(1))
    (tmp_path / "text.jpg").write_text("not an image")
    with pytest.raises(InputError, match=said):
        feeds([IMAGE], 1, Given(tmp_path / name))


def test_one_array_for_two_inputs_and_an_image_for_a_vector_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros((1, 3)))
    vector = Input("x", "float32", (None, 3))
    with pytest.raises(InputError, match="one array, the model takes x, image"):
        feeds([vector, IMAGE], 1, Given(tmp_path / "x.npy"))
    with pytest.raises(InputError, match="no square image of three channels"):
        feeds([vector], 1, Given(tmp_path / "photo.png"))
