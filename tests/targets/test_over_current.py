"""A Jetson's over-current counters, and what happened between two looks at them."""

from __future__ import annotations

from pathlib import Path

from copied_board import copied, hwmon
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedistill.targets.over_current import events_between, over_current_counts

COUNTS = st.dictionaries(st.sampled_from(["oc1", "oc2", "oc3"]), st.integers(0, 10**9))


def test_counters_are_found_by_the_name_of_their_device(tmp_path: Path) -> None:
    counters = {"oc1_event_cnt": 0, "oc2_event_cnt": 15, "oc3_event_cnt": 27_390, "oc3_throt_en": 1}
    root = copied(tmp_path, hwmon(1, "ina3221", oc1_event_cnt=9) | hwmon(3, "soctherm_oc", **counters))
    assert over_current_counts(root) == {"oc1": 0, "oc2": 15, "oc3": 27_390}
    assert over_current_counts(tmp_path / "none") == {}


def test_a_counter_that_does_not_tell_is_left_out(tmp_path: Path) -> None:
    root = copied(tmp_path, hwmon(3, "soctherm_oc", oc1_event_cnt="", oc2_event_cnt="-1", oc3_event_cnt=2))
    assert over_current_counts(root) == {"oc3": 2}


@settings(max_examples=30)
@given(COUNTS, COUNTS)
def test_events_are_new_ones_of_counters_read_twice(before: dict[str, int], after: dict[str, int]) -> None:
    found = events_between(before, after)
    assert set(found) <= set(before) & set(after)
    assert all(count > 0 and before[name] + count == after[name] for name, count in found.items())
    assert events_between(after, after) == {}
