"""A new method is one file beside the others and one line in METHODS: here both are made, and the method trains."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from edgedistill.distil import methods
from edgedistill.distil.batches import BatchReader
from edgedistill.distil.methods import make, options
from edgedistill.distil.methods.base import Method
from edgedistill.distil.schedule import Rates
from edgedistill.distil.step import Learner
from edgedistill.errors import InputError
from edgedistill.settings import resolve
from edgedistill.teacher.store import TeacherStore

from ..colours import SIZE, config, fresh_student, lesson

TOY = '''
"""The distance of the best classes' logits, as a toy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from ...errors import InputError
from .base import Material, Method, State, StudentOut, TeacherOut

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Toy(Method):
    name: ClassVar[str] = "toy"

    best: int = 2
    squared: bool = False
    weight: float = 1.0
    norm: Literal["sum", "mean"] = "mean"
    sides: tuple[Literal["logits", "features"], ...] = ("logits",)
    limit: float | None = None

    def check(self) -> None:
        if self.best < 1:
            raise InputError(f"toy: best is {self.best}", "It must be at least 1.")

    def prepare(self, material: Material) -> State:
        return State.of(material.classes)

    def loss(self, student: StudentOut, teacher: TeacherOut, state: State) -> dict[str, Tensor]:
        zt, best = state.logits(teacher.u).topk(self.best, dim=-1)
        distance = (zt - state.logits(student.g).gather(-1, best)).abs()
        distance = distance.square() if self.squared else distance
        distance = distance if self.limit is None else distance.clamp(max=self.limit)
        part = self.weight * (distance.mean() if self.norm == "mean" else distance.sum())
        return {"total": part, "best": part}
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """toy.py in the folder of the methods, as far as Python can tell, and its line in the list."""
    (tmp_path / "toy.py").write_text(TOY)
    monkeypatch.setattr(methods, "__path__", [*methods.__path__, str(tmp_path)])
    monkeypatch.setitem(methods.METHODS, "toy", ".toy:Toy")
    yield
    sys.modules.pop("edgedistill.distil.methods.toy", None)


GIVEN = ["best=1", "squared=true", "weight=0.5", "norm=sum", "sides=logits,features", "limit=40"]
READ = {
    "best": 1,
    "squared": True,
    "weight": 0.5,
    "norm": "sum",
    "sides": ("logits", "features"),
    "limit": 40.0,
}


def values_of(method: Method) -> dict[str, Any]:
    return {name: value for name, value in options(method).items() if name != "method"}


@pytest.mark.usefixtures("toy")
def test_options_of_every_kind_arrive_as_their_fields_say() -> None:
    read = values_of(make("toy", GIVEN))
    assert read == READ
    assert {name: type(value) for name, value in read.items()} == {name: type(value) for name, value in READ.items()}
    assert make("toy", GIVEN) == make("toy", **READ)
    assert values_of(make("toy", ["limit=none", "sides="])) == values_of(make("toy", sides=()))


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("best=two", "toy: best is 'two'\nIt has to be a whole number."),
        ("best=1.5", "toy: best is '1.5'\nIt has to be a whole number."),
        ("best=0", "toy: best is 0\nIt must be at least 1."),
        ("squared=1", "toy: squared is '1'\nIt has to be true or false."),
        ("weight=much", "toy: weight is 'much'\nIt has to be a finite number."),
        ("norm=max", "toy: norm is 'max'\nUse one of: sum, mean."),
        ("sides=logits,back", "toy: sides[1] is 'back'\nUse one of: logits, features."),
        ("limit=low", "toy: limit is 'low'\nIt has to be a finite number."),
    ],
)
def test_a_wrong_value_names_method_option_value_and_what_it_must_be(given: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        make("toy", [given])
    assert str(caught.value) == says


@pytest.mark.usefixtures("toy")
def test_a_build_may_ask_for_it_by_flag_or_in_its_file(tmp_path: Path) -> None:
    needed = {"profile": "cpu", "classes": "labels.txt", "images": "photos"}
    file = tmp_path / "build.toml"
    file.write_text(f"method = 'toy'\noption = {GIVEN}\n")
    by_file = resolve(needed, file, {})
    by_flag = resolve(needed | {"method": "toy", "option": tuple(GIVEN)}, None, {})
    assert make(by_file.method, by_file.option) == make(by_flag.method, by_flag.option)


@pytest.mark.usefixtures("toy")
def test_it_trains(store: TeacherStore) -> None:
    taught = lesson(store, make("toy", GIVEN))
    learner = Learner(fresh_student(), taught, config(), torch.device("cpu"))
    reader = BatchReader(store=store, size=SIZE, with_mean=True)
    batch = reader.read(taught.rows, taught.rows * 0 + 1)
    losses = [learner.step(batch, Rates(lr=1.0, eta=0.5, decay=0.5))["best"].item() for _ in range(5)]
    assert losses[-1] < losses[0]
