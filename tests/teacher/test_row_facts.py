from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgedistill.errors import InputError
from edgedistill.teacher.row_facts import ROW_FACTS, RowFacts

FACTS = RowFacts(np.array([1.0, 0.0, 0.25]), np.array([2, -1, 0]))


def test_a_store_without_facts_has_none(tmp_path: Path) -> None:
    assert RowFacts.read(tmp_path, 3) is None


def test_they_are_read_as_they_were_written(tmp_path: Path) -> None:
    FACTS.save(tmp_path)
    read = RowFacts.read(tmp_path, 3)
    assert read is not None
    assert read.weight.tolist() == [1.0, 0.0, 0.25]
    assert read.prompt_class.tolist() == [2, -1, 0]


@pytest.mark.parametrize(
    ("weight", "prompt_class", "says"),
    [
        ([1.0, -0.5], [0, 0], "negative"),
        ([1.0, np.nan], [0, 0], "not finite"),
        ([1.0, 1.0], [0, -2], "below -1"),
        ([1.0], [0, 1], "not .N. each"),
    ],
)
def test_what_cannot_be_is_refused(weight: list[float], prompt_class: list[int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        RowFacts(np.array(weight), np.array(prompt_class))


def test_facts_of_another_store_or_damaged_ones_are_an_error(tmp_path: Path) -> None:
    FACTS.save(tmp_path)
    with pytest.raises(InputError, match="3 rows in a store of 4"):
        RowFacts.read(tmp_path, 4)
    (tmp_path / ROW_FACTS).write_bytes(b"no tensors")
    with pytest.raises(InputError, match="is damaged"):
        RowFacts.read(tmp_path, 3)
