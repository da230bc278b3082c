"""How long is measured follows from a mode and the profile, and a profile's queries are never fewer."""

from __future__ import annotations

from edgedistill import profiles
from edgedistill.choices import MODES
from edgedistill.targets import length
from edgedistill.targets.length import SOAK_S, loop_of


def test_a_quick_run_is_short_a_full_one_the_profiles_and_a_soak_ten_minutes_on_every_board() -> None:
    for name in profiles.list_profiles():
        measure = profiles.load_profile(name).to_json()["measure"]
        quick, full, soak = (loop_of(measure, mode) for mode in ("quick", "full", "soak"))
        assert quick.min_s <= 1 < full.min_s == measure["min_s"] < soak.min_s == SOAK_S == 600
        assert quick.warmup_s <= full.warmup_s
        assert quick.min_queries == full.min_queries == soak.min_queries == measure["min_queries"]
        assert (quick.runs, full.runs, soak.runs) == (3, 3, 1)
        assert quick.tells_load


def test_the_workshops_list_of_modes_is_the_devices() -> None:
    assert MODES == length.MODES
