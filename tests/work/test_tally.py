"""What of a folder can be used: counted over every stage that looks at it."""

from __future__ import annotations

import pytest

from edgedistill.errors import InputError
from edgedistill.work.tally import Tally, counts


def test_reasons_of_several_tables_are_added_up_and_sorted() -> None:
    assert counts({"truncated": ["a"], "not an image": ["b", "c"]}, {"truncated": ["d"]}, {}) == {
        "not an image": 2,
        "truncated": 2,
    }


def test_what_turns_out_bad_later_counts_with_what_was_bad_before() -> None:
    tally = Tally("photos", 5, {"truncated": 1}).losing({"truncated": ["a"], "too small": ["b"]})
    assert (tally.usable, tally.skipped) == (3, {"truncated": 2, "too small": 1})
    with pytest.raises(InputError, match="5 of the 6 files in photos cannot be used: 2 too small, 3 truncated"):
        tally.losing({"truncated": ["c"]}).losing({"too small": ["d"]}).refuse_mostly_bad()
