"""A run in a hot or throttled machine does not count; where nothing would have told, that is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from copied_board import cooling, copied, hwmon, zones

from edgedistill.targets.cudart import Gpu
from edgedistill.targets.flaws import Flaw
from edgedistill.targets.state import Course, read_state, read_throttling

H200 = Gpu("NVIDIA H200", "9.0", 132, 143_771, False, "0000:3b:00.0")
ORIN = Gpu("Orin", "8.7", 16, 62_841, True, "0000:00:00.0")
State = dict[str, Any]


def course(before: State, after: State, *during: State, gpu: Gpu | None = None) -> Course:
    return Course(before, during, after, gpu)


def bits(word: int | None, source: str | None = "vcgencmd") -> State:
    return {"firmware": {"bits": word, "source": source}}


def counts(**events: int) -> State:
    return {"over_current": events}


@pytest.fixture
def nano(tmp_path: Path) -> Path:
    """An Orin Nano at work, seen from a container."""
    files = zones(cpu_thermal=51.5, gpu_thermal=52.5, tj_thermal=53.0)
    files |= cooling(pwm_fan=2, cpu_throttle_alert=0, gpu_throttle_alert=0)
    files |= hwmon(3, "soctherm_oc", oc1_event_cnt=0, oc2_event_cnt=15, oc3_event_cnt=37)
    files |= {f"sys/class/devfreq/17000000.gpu/{key}_freq": f"{mhz}000000" for key, mhz in (("cur", 612), ("max", 612))}
    files |= {"var/lib/nvpmodel/status": "pmode:0000", "etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n"}
    return copied(tmp_path, files)


def test_a_machine_that_tells_nothing_has_little_state(tmp_path: Path) -> None:
    assert read_state(tmp_path) == {"memory_available_mb": 0}


def test_a_boards_state_is_read_where_it_is(nano: Path) -> None:
    found = read_state(nano, gpu=ORIN)
    assert found == {
        "memory_available_mb": 1000,
        "power_mode": "15W",
        "gpu": {"mhz": 612, "max_mhz": 612},
        "temperature_c": {"cpu-thermal": 51.5, "gpu-thermal": 52.5, "tj-thermal": 53.0},
        "cooling": {"cpu-throttle-alert": 0, "gpu-throttle-alert": 0},
        "over_current": {"oc1": 0, "oc2": 15, "oc3": 37},
    }
    assert read_throttling(nano).items() <= found.items()
    assert "gpu" not in read_state(nano)


def test_what_the_figures_depend_on_is_told(nano: Path) -> None:
    found = course(read_state(nano, gpu=ORIN), read_state(nano, gpu=ORIN), gpu=ORIN)
    assert found.flaws(95) == found.warnings() == []
    assert found.conditions() == {
        "power_mode": "15W",
        "gpu_max_mhz": 612,
        "temperature_c": 53.0,
        "watched": ["cooling devices", "over-current counters"],
    }


@pytest.mark.parametrize(
    ("state", "gpu", "watched"),
    [
        ({}, None, []),
        ({"temperature_c": {"cpu-thermal": 50.0}}, None, []),
        (bits(0), None, ["vcgencmd"]),
        (bits(None, None) | {"cooling": {"cpufreq-cpu0": 0}}, None, []),  # a Pi's firmware throttles by itself
        ({"cooling": {"cpufreq-cpu0": 0}}, None, ["cooling devices"]),
        ({"cooling": {"devfreq-gpu": 0}}, None, []),
        ({"throttle_counts": {"package": 3}}, None, ["throttle counters"]),
        ({"throttle_counts": {"package": 3}}, ORIN, []),
        ({"gpu": {"slowed": 0}, "cooling": {"cpufreq-cpu0": 0}}, H200, ["nvidia-smi"]),
        ({"gpu": {"temperature_c": 50.0}, "cooling": {"cpufreq-cpu0": 0}}, H200, []),
    ],
)
def test_throttling_is_unknown_where_nothing_would_tell(state: State, gpu: Gpu | None, watched: list[str]) -> None:
    assert course(state, state, gpu=gpu).conditions()["watched"] == watched


ALERT = {"cooling": {"gpu-throttle-alert": 1}}


@pytest.mark.parametrize(
    ("run", "flaws"),
    [
        (course({}, {}), []),
        (course({}, {"temperature_c": {"cpu": 80.0}}), []),
        (course({}, {"temperature_c": {"cpu": 70.0, "soc": 80.5}}), [Flaw("hot", "soc", 80.5, 80)]),
        (course({}, {"temperature_c": {"cpu": 70.0, "gpu": 90.0}}), []),
        (course({}, {"temperature_c": {"cpu": 90.0, "gpu": 70.0}}, gpu=ORIN), []),
        (course({}, {"temperature_c": {"cpu": 99.0}, "gpu": {"temperature_c": 70.0}}, gpu=H200), []),
        (course({}, {"gpu": {"temperature_c": 91.0}}, gpu=H200), [Flaw("hot", "gpu", 91.0, 80)]),
        (course(bits(0), bits(0x4)), [Flaw("throttled", "throttled")]),
        (course(bits(0x50000), bits(0x50000)), []),
        (course(bits(0x50000), bits(0x50000), bits(0x50001)), [Flaw("throttled", "under-voltage")]),
        (course({}, bits(0x50000)), []),  # before the run it was not told: it may be old
        (course(bits(None, None), bits(None, None)), []),
        (course({}, {}, ALERT, gpu=ORIN), [Flaw("throttled", "gpu-throttle-alert is active")]),
        (course({}, ALERT), []),  # of a model on the CPU
        (course({}, ALERT, gpu=H200), []),  # of the machine around the GPU
        (course(counts(oc1=1, oc2=0), counts(oc1=3, oc2=0)), [Flaw("over-current", "OC1, under-voltage", 2)]),
        (course(counts(oc3=0), counts(oc3=9), gpu=ORIN), []),
        (course(counts(oc2=5), counts(oc2=5), gpu=ORIN), []),
        (
            course({"throttle_counts": {"core": 4}}, {"throttle_counts": {"core": 5}}),
            [Flaw("throttled", "heat, as the core counts")],
        ),
        (course({}, {"gpu": {"slowed": 0x1}}, gpu=H200), []),  # idle
        (course({}, {"gpu": {"slowed": 0x4}}, gpu=H200), []),  # its power cap: a warning
        (
            course({}, {"gpu": {"slowed": 0x60}}, gpu=H200),
            [
                Flaw("throttled", "GPU software thermal slowdown"),
                Flaw("throttled", "GPU hardware thermal slowdown"),
            ],
        ),
    ],
)
def test_a_hot_or_throttled_run_does_not_count(run: Course, flaws: list[Flaw]) -> None:
    found = run.flaws(hot_c=80)
    assert found == flaws
    assert all(flaw.may_pass for flaw in found)


@pytest.mark.parametrize(
    ("run", "warnings"),
    [
        (course(counts(oc3=2), counts(oc3=29), gpu=ORIN), [Flaw("over-current", "OC3, instantaneous current", 27)]),
        (course({}, {"gpu": {"slowed": 0x4}}, gpu=H200), [Flaw("power-cap", "GPU")]),
        (course({}, {"gpu": {"mhz": 242, "max_mhz": 1575}}, gpu=ORIN), [Flaw("slow-clock", "GPU", 242, 1575)]),
        (course({}, {"cpu": {"mhz": 600, "max_mhz": 2400}}), [Flaw("slow-clock", "CPU", 600, 2400)]),
        (course({}, {"cpu": {"mhz": 600, "max_mhz": 2400}}, gpu=ORIN), []),
        (course({}, {"cpu": {"mhz": 1800, "max_mhz": 2400}}), []),
        (course({}, {"cpu": {"mhz": 1800, "max_mhz": None}}), []),
    ],
)
def test_what_else_to_know_is_a_warning(run: Course, warnings: list[Flaw]) -> None:
    assert run.warnings() == warnings
