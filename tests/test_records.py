"""records.py: what is read comes back, and every departure from the description names file and key."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.errors import InputError
from edgedistill.records import conform, plain, read


@dataclass(frozen=True)
class Lens:
    focal_mm: float
    coated: bool = False


@dataclass(frozen=True)
class Camera:
    name: str
    lens: Lens
    kind: Literal["rgb", "mono"] = "rgb"
    size: tuple[int, int] = (640, 480)
    gains: tuple[float, ...] = ()
    spare: Lens | None = None
    limits: dict[str, float] = field(default_factory=dict)
    rest: Any = None


finite = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53)
lenses = st.builds(Lens, finite, st.booleans())
cameras = st.builds(
    Camera,
    st.text(),
    lenses,
    st.sampled_from(["rgb", "mono"]),
    st.tuples(st.integers(), st.integers()),
    st.lists(finite).map(tuple),
    st.none() | lenses,
    st.dictionaries(st.text(), finite),
)


@given(cameras)
def test_what_is_written_reads_back_equal(camera):
    assert read(Camera, plain(camera), "camera.json") == camera


@pytest.mark.parametrize(
    ("change", "wrong", "todo"),
    [
        ({"lenz": {}}, "lenz is not a key that is known here", "Did you mean lens?"),
        ({"lens": {"coated": True}}, "lens.focal_mm is missing", "Add it."),
        ({"lens": {"focal_mm": "8"}}, "lens.focal_mm is '8'", "It has to be a finite number."),
        ({"lens": {"focal_mm": True}}, "lens.focal_mm is True", "It has to be a finite number."),
        ({"lens": {"focal_mm": float("nan")}}, "lens.focal_mm is nan", "It has to be a finite number."),
        ({"lens": [8]}, "lens is [8]", "It has to be a table."),
        ({"kind": "yuv"}, "kind is 'yuv'", "Use one of: rgb, mono."),
        ({"size": [1, 2, 3]}, "size has 3 values, not 2", "Write 2 values."),
        ({"size": [1.0, 2]}, "size[0] is 1.0", "It has to be a whole number."),
        ({"gains": [1, None]}, "gains[1] is None", "It has to be a finite number."),
        ({"limits": {"low": "x"}}, "limits.low is 'x'", "It has to be a finite number."),
    ],
)
def test_a_departure_names_file_key_and_remedy(change, wrong, todo):
    with pytest.raises(InputError) as error:
        read(Camera, {"name": "front", "lens": {"focal_mm": 8}} | change, "camera.json")
    assert (error.value.wrong, error.value.todo) == (f"camera.json: {wrong}", todo)


@pytest.mark.parametrize("table", [None, [], "x", 3])
def test_what_is_no_table_is_refused(table):
    with pytest.raises(InputError, match=r"camera\.json: the file is"):
        read(Camera, table, "camera.json")


@dataclass(frozen=True)
class Checked:
    size: float
    ratio: float | None = None
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        conform(self, "checked")


def test_a_dataclass_can_check_itself_and_take_the_shapes_that_its_fields_ask_for() -> None:
    made = Checked(2, ratio=3, names=["a"])  # type: ignore[arg-type]
    assert (made, type(made.size), type(made.ratio)) == (Checked(2.0, 3.0, ("a",)), float, float)
    with pytest.raises(InputError, match=r"checked: names\[1\] is 1"):
        Checked(2, names=("a", 1))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="checked: ratio is too large"):
        Checked(2, ratio=10**400)  # type: ignore[arg-type]
