"""Temperatures are those of the processor that runs the model."""

from __future__ import annotations

from pathlib import Path

import pytest
from copied_board import copied, hwmon, listing, sample, zones

from edgedistill.targets.temperatures import of_processor, temperatures

ORIN = {"cpu-thermal": 51.5, "gpu-thermal": 52.5, "cv0-thermal": 70.0, "soc0-thermal": 50.9, "tj-thermal": 53.0}
RK3588 = {"soc-thermal": 44.0, "bigcore0-thermal": 61.0, "littlecore-thermal": 50.0, "npu-thermal": 70.0}


def test_the_hottest_of_equal_names_and_no_sensor_that_is_off(tmp_path: Path) -> None:
    root = copied(tmp_path, zones(cpu_thermal=58.95, gpu_thermal=-256) | hwmon(0, "nvme", temp1_input=40_000))
    again = {"sys/class/thermal/thermal_zone7/type": "cpu-thermal", "sys/class/thermal/thermal_zone7/temp": "61000"}
    assert temperatures(copied(root, again)) == {"cpu-thermal": 61.0}


def test_processors_without_a_zone_have_their_sensor(tmp_path: Path) -> None:
    root = copied(tmp_path, zones(acpitz=16.8) | hwmon(2, "k10temp", temp1_input=71_250, temp3_input=55_000))
    assert of_processor(temperatures(root), gpu=False) == {"k10temp": 71.25}


@pytest.mark.parametrize(
    ("found", "gpu", "names"),
    [
        (ORIN, False, {"cpu-thermal", "soc0-thermal", "tj-thermal"}),
        (ORIN, True, {"gpu-thermal", "tj-thermal"}),
        (RK3588, False, {"soc-thermal", "bigcore0-thermal", "littlecore-thermal"}),
        ({"x86_pkg_temp": 61.0, "acpitz": 97.0, "iwlwifi_1": 99.0, "pch_cannonlake": 70.0}, False, {"x86_pkg_temp"}),
        ({"acpitz": 40.0, "iwlwifi_1": 50.0}, False, {"acpitz"}),
        ({"cpu-thermal": 50.0}, True, set()),
    ],
)
def test_what_belongs_to_other_parts_does_not_count(found: dict[str, float], gpu: bool, names: set[str]) -> None:
    assert set(of_processor(found, gpu=gpu)) == names


@pytest.mark.parametrize(
    ("case", "hottest"),
    [
        ("orin nano", {False: 52.5, True: 52.5}),
        ("thor gpu zone unavailable while power-gated", {True: None}),
        ("pi5", {False: 58.95, True: None}),
        ("n100", {False: 61.0}),
    ],
)
def test_the_zones_of_samples(tmp_path: Path, case: str, hottest: dict[bool, float | None]) -> None:
    found = temperatures(copied(tmp_path, listing(sample("thermal_zones.txt")[case])))
    for gpu, celsius in hottest.items():
        assert max(of_processor(found, gpu=gpu).values(), default=None) == celsius
