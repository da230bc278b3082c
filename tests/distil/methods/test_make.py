"""Methods by name: options as text or as values, typed by the fields of the method's dataclass."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Literal

import pytest

from edgedistill.distil.methods import METHODS, make, options
from edgedistill.distil.methods.base import Method
from edgedistill.distil.methods.embedding import Embedding
from edgedistill.distil.methods.kd import KD
from edgedistill.distil.methods.prg import PRG
from edgedistill.distil.methods.text import from_text
from edgedistill.errors import InputError


def test_the_list_of_methods_is_read_without_torch() -> None:
    program = "import sys\nfrom edgedistill.distil.methods import METHODS\nprint(*METHODS, 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [*METHODS, "False"]


def test_every_method_is_made_by_the_name_it_has() -> None:
    for name in METHODS:
        method = make(name)
        assert isinstance(method, Method)
        assert method.name == name


def test_options_are_read_from_text_as_their_fields_say() -> None:
    asked = make("prg", ["alpha=2", "edges=images", "edge_loss=col"])
    assert asked == PRG(alpha=2.0, edges=("images",), edge_loss="col")
    assert make("kd", ["tau=2"], cosine=1.0) == KD(tau=2.0, cosine=1.0)
    assert make("kd", ["tau=2"], tau=3.0) == KD(tau=2.0)


def test_values_of_another_shape_become_those_of_the_field() -> None:
    assert type(make("kd", tau=2).tau) is float  # type: ignore[attr-defined]
    assert make("prg", edges=["class"]).edges == ("class",)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("3", int, 3),
        ("-1e-3", float, -0.001),
        ("true", bool, True),
        ("False", bool, False),
        ("a", Literal["a", "b"], "a"),
        ("2", Literal[1, 2], 2),
        ("a,b", tuple[Literal["a", "b"], ...], ("a", "b")),
        ("1, 2", tuple[int, ...], (1, 2)),
        ("", tuple[int, ...], ()),
        ("1,x", tuple[int, str], (1, "x")),
        ("none", int | None, None),
        ("3", int | None, 3),
        ("none", str, "none"),
        ("2.5", int, "2.5"),
        ("yes", bool, "yes"),
        ("1,2,3", tuple[int, int], (1, 2, "3")),
    ],
)
def test_text_is_read_by_its_type_and_left_alone_where_it_does_not_fit(text: str, hint: Any, value: Any) -> None:
    found = from_text(text, hint)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("name", "given", "says"),
    [
        ("prgg", [], "no method is called 'prgg'"),
        ("prg", ["alpah=1"], "Did you mean alpha?"),
        ("kd", ["tau"], "Write it as tau=VALUE."),
        ("kd", ["tau=hot"], "kd: tau is 'hot'\nIt has to be a finite number."),
        ("kd", ["tau=nan"], "kd: tau is nan"),
        ("kd", ["tau=0"], "kd: tau is 0"),
        ("embedding", ["distance=l1"], "embedding: distance is 'l1'\nUse one of: cosine, mse."),
        ("prg", ["edges=class,words"], "prg: edges[1] is 'words'\nUse one of: class, images, proxies, mean-view."),
        ("prg", ["edges=class,class"], "prg: edges is ('class', 'class')"),
    ],
)
def test_wrong_words_are_refused_with_what_they_may_be(name: str, given: list[str], says: str) -> None:
    with pytest.raises(InputError) as caught:
        make(name, given)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("name", "values", "says"),
    [
        ("kd", {"tau": "2"}, "kd: tau is '2'"),
        ("kd", {"tau": True}, "kd: tau is True"),
        ("kd", {"tua": 2.0}, "Did you mean tau?"),
        ("embedding", {"distance": None}, "embedding: distance is None"),
        ("prg", {"edges": "class"}, "prg: edges is 'class'"),
    ],
)
def test_wrong_values_are_refused_as_well(name: str, values: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as caught:
        make(name, **values)
    assert says in str(caught.value)


def test_a_closed_list_is_checked_without_make_too() -> None:
    with pytest.raises(InputError, match="distance is 'l1'"):
        Embedding(distance="l1")  # type: ignore[arg-type]


def test_options_are_written_with_the_methods_name() -> None:
    assert options(KD(tau=2.0)) == {"method": "kd", "tau": 2.0, "cosine": 0.0}
