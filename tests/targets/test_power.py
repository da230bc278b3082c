"""Watts are volts times amperes of the rails that make up the module, and a query's energy is their time."""

from __future__ import annotations

from pathlib import Path
from time import sleep

import pytest
from copied_board import copied, hwmon, listing, sample
from hypothesis import given
from hypothesis import strategies as st

from edgedistill.targets.power import IN_SUM, counted, energy, idle_w, rails

ORIN_NX = {
    **{"in1_label": "VDD_IN", "in1_input": 5000, "curr1_input": 2000},
    **{"in2_label": "VDD_CPU_GPU_CV", "in2_input": 5000, "curr2_input": 800},
    **{"in3_label": "NC", "in3_input": 5000, "curr3_input": 1},
    **{"in7_label": "Sum of shunt voltages", "in7_input": 9, "curr4_input": 9},
}


def board(root: Path, **changed: object) -> Path:
    other = hwmon(0, "tmp451", in1_label="VDD_IN", in1_input=1, curr1_input=1)
    return copied(root, other | hwmon(1, "ina3221", **{**ORIN_NX, **changed}))


def test_a_rail_is_read_under_its_label_and_other_sensors_are_not(tmp_path: Path) -> None:
    assert rails(board(tmp_path)) == {"VDD_IN": 10.0, "VDD_CPU_GPU_CV": 4.0}
    assert rails(tmp_path / "none") == {}


def test_a_rail_that_does_not_tell_is_left_out(tmp_path: Path) -> None:
    assert rails(board(tmp_path, curr1_input="", in2_input="?")) == {}


def thor(root: Path, *watts: float, tree: str = "nvidia,p4071-0000+p3834-0008|nvidia,tegra264|") -> Path:
    module = hwmon(1, "ina3221", in1_label="VDD_GPU", in1_input=5000, curr1_input=2000)
    carrier = [hwmon(2 + number, "ina238", power1_input=round(one * 1e6)) for number, one in enumerate(watts)]
    files = {name: content for sensor in (module, *carrier) for name, content in sensor.items()}
    return copied(root, {"proc/device-tree/compatible": tree, **files})


def test_a_thor_is_measured_where_its_carrier_board_takes_power_in(tmp_path: Path) -> None:
    found = rails(thor(tmp_path / "one", 41.25))
    assert found == {"VDD_GPU": 10.0, "VIN": 41.25}
    assert counted(found) == ("VIN",)
    assert counted(rails(thor(tmp_path / "none"))) == ()
    assert counted(rails(thor(tmp_path / "two", 41.25, 3.5))) == ()
    assert rails(thor(tmp_path / "orin", 41.25, tree="nvidia,tegra234|")) == {"VDD_GPU": 10.0}


@given(st.sets(st.sampled_from(["VDD_IN", "VIN", "VDD_SOC", "VDDQ_VDD2_1V8AO", *IN_SUM])))
def test_the_whole_module_is_one_rail_or_the_sum_of_three_and_nothing_is_counted_twice(labels: set[str]) -> None:
    found = counted(dict.fromkeys(labels, 1.0))
    assert set(found) <= labels
    if labels & {"VDD_IN", "VIN"}:
        assert len(found) == 1
    else:
        assert found == (IN_SUM if labels >= set(IN_SUM) else ())


def test_energy_is_power_times_time_and_idle_is_told_apart(tmp_path: Path) -> None:
    root = board(tmp_path)
    idle = idle_w(root, seconds=0.05)
    assert idle == pytest.approx(10.0)
    board(root, curr1_input=3000)
    found = energy(lambda: sleep(0.002), idle, root, seconds=0.2)
    assert found is not None
    assert (found["rails"], found["idle_w"], found["busy_w"]) == (["VDD_IN"], 10.0, 15.0)
    assert found["mj"] == pytest.approx(15e3 * found["seconds"] / found["queries"], rel=0.05)
    assert found["mj_above_idle"] == pytest.approx(found["mj"] / 3, rel=1e-3)


def test_a_board_without_rails_has_no_energy_and_waits_for_none(tmp_path: Path) -> None:
    calls: list[int] = []
    assert idle_w(tmp_path, seconds=60) is None
    assert energy(lambda: calls.append(1), None, tmp_path, seconds=60) is None
    assert calls == []


@pytest.mark.parametrize(
    ("case", "made_of", "watts"),
    [
        ("orin nx/nano module rails (mV, mA; in1 x curr1 = module power)", ("VDD_IN",), 29.39),
        ("agx orin rails (no total rail: sum the first three)", IN_SUM, 21.4),
    ],
)
def test_the_rails_of_samples(tmp_path: Path, case: str, made_of: tuple[str, ...], watts: float) -> None:
    found = rails(copied(tmp_path, listing(sample("ina3221_hwmon.txt")[case])))
    assert counted(found) == made_of
    assert sum(found[label] for label in made_of) == pytest.approx(watts, abs=0.01)
