"""A machine is recognised by what it says about itself; copied boards stand in for the ones not at hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedistill.profiles import list_profiles, load_profile
from edgedistill.targets import machine
from edgedistill.targets.cudart import Gpu
from edgedistill.targets.flaws import Flaw
from edgedistill.targets.machine import Facts, identify, read_facts, why_invalid

ORIN_GPU = Gpu("Orin", "8.7", 16, 62_841, True, "0000:00:00.0")
H200 = Gpu("NVIDIA H200", "9.0", 132, 143_771, False, "0000:3b:00.0")
THOR_GPU = Gpu("NVIDIA Thor", "11.0", 20, 125_000, True, "0000:01:00.0")
PC = {"proc/cpuinfo": "model name\t: Intel(R) Xeon(R) CPU\nflags\t\t: fpu avx2\n"}


def copied(root: Path, files: dict[str, str], memory_mb: int = 64_000) -> Path:
    """A board's /proc and /sys in a folder; NUL is written as |."""
    files = {"proc/meminfo": f"MemTotal:       {memory_mb * 1024} kB\nMemAvailable:   1024000 kB\n", **files}
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.replace("|", "\0").encode())
    return root


def jetson(compatible: str, model: str) -> dict[str, str]:
    return {"proc/device-tree/compatible": compatible + "|", "proc/device-tree/model": model + "|"}


def facts_of(root: Path, machine_name: str, gpus: list[Gpu] | None) -> Facts:
    return read_facts(root, machine=machine_name, gpus=lambda: gpus)


def matching(facts: Facts) -> list[str]:
    return [name for name in list_profiles() if identify(load_profile(name).to_json(), facts=facts).status == "match"]


BOARDS = {
    "agx orin 64": ("nvidia,p3737-0000+p3701-0005|nvidia,p3701-0005|nvidia,tegra234", 62_000, ["jetson-orin"]),
    "agx orin 32": ("nvidia,p3737-0000+p3701-0004|nvidia,p3701-0004|nvidia,tegra234", 30_000, ["jetson-orin"]),
    "first agx devkit": ("nvidia,p3737-0000+p3701-0000|nvidia,tegra234|nvidia,tegra23x", 30_000, ["jetson-orin"]),
    "orin nx 16": ("nvidia,p3768-0000+p3767-0000|nvidia,p3767-0000|nvidia,tegra234", 15_000, ["jetson-orin-nx"]),
    "orin nano super": ("nvidia,p3768-0000+p3767-0005-super|nvidia,tegra234", 7_600, ["jetson-orin-nano"]),
    "orin nano 4": ("nvidia,p3768-0000+p3767-0004|nvidia,p3767-0004|nvidia,tegra234", 3_400, ["jetson-orin-nano"]),
}


@pytest.mark.parametrize("board", BOARDS)
def test_a_jetson_is_known_by_its_module_whatever_the_carrier_says(tmp_path: Path, board: str) -> None:
    compatible, memory_mb, profiles = BOARDS[board]
    root = copied(tmp_path, jetson(compatible, "Some Carrier 9000"), memory_mb)
    assert [name for name in matching(facts_of(root, "aarch64", [ORIN_GPU])) if name != "cpu"] == profiles


def test_a_thor_is_a_thor(tmp_path: Path) -> None:
    text = jetson("nvidia,p4071-0000+p3834-0008|nvidia,p3834-0008|nvidia,tegra264", "NVIDIA Jetson AGX Thor")
    facts = facts_of(copied(tmp_path, text, 125_000), "aarch64", [THOR_GPU])
    assert [name for name in matching(facts) if name != "cpu"] == ["jetson-thor"]
    assert machine.device_name(facts) == "NVIDIA Jetson AGX Thor (p3834-0008)"


@pytest.mark.parametrize(
    ("model", "profile"),
    [
        ("Raspberry Pi 5 Model B Rev 1.0", "raspberry-pi-5"),
        ("Raspberry Pi Compute Module 5 Rev 1.0", "raspberry-pi-5"),
        ("Raspberry Pi 4 Model B Rev 1.5", "raspberry-pi-4"),
    ],
)
def test_a_raspberry_pi_is_known_by_its_model(tmp_path: Path, model: str, profile: str) -> None:
    facts = facts_of(copied(tmp_path, jetson("raspberrypi,x|brcm,bcm2712", model), 8_000), "aarch64", [])
    assert matching(facts) == ["cpu", profile]


def test_a_pc_is_told_apart_by_its_processor_and_gpu(tmp_path: Path) -> None:
    assert matching(facts_of(copied(tmp_path, PC), "x86_64", [])) == ["cpu"]
    assert matching(facts_of(copied(tmp_path, PC), "x86_64", [H200])) == ["cpu", "cuda"]
    n100 = {"proc/cpuinfo": "model name\t: Intel(R) N100\n"}
    assert matching(facts_of(copied(tmp_path, n100), "x86_64", [])) == ["cpu", "intel-n100"]


def test_a_mismatch_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    found = identify(load_profile("jetson-orin").to_json(), facts=facts_of(copied(tmp_path, PC), "x86_64", [H200]))
    assert found.status == "mismatch"
    assert found.evidence["compatible"]["ok"] is False
    assert found.evidence["min_compute_capability"] == {"wanted": "8.7", "found": "9.0", "ok": True}
    old = Gpu("GeForce GTX 1080", "6.1", 20, 8_000, False, "0")
    found = identify(load_profile("cuda").to_json(), facts=facts_of(copied(tmp_path, PC), "x86_64", [old]))
    assert (found.status, found.evidence["min_compute_capability"]["found"]) == ("mismatch", "6.1")


def test_compute_capabilities_are_compared_as_numbers(tmp_path: Path) -> None:
    blackwell = Gpu("B", "10.0", 1, 1, False, "0")
    facts = facts_of(copied(tmp_path, PC), "x86_64", [blackwell])
    assert identify({"identify": {"gpu": True, "min_compute_capability": "8.7"}}, facts=facts).status == "match"


def test_a_hidden_device_tree_is_unreadable_and_not_a_mismatch(tmp_path: Path) -> None:
    facts = facts_of(copied(tmp_path, {"proc/device-tree/compatible": ""}), "aarch64", [ORIN_GPU])
    assert identify(load_profile("jetson-orin").to_json(), facts=facts).status == "unreadable"
    assert identify(load_profile("raspberry-pi-5").to_json(), facts=facts).status == "unreadable"
    assert identify(load_profile("cuda").to_json(), facts=facts).status == "unreadable"


def test_an_arm_server_without_device_tree_is_no_jetson_and_may_be_cuda(tmp_path: Path) -> None:
    root = copied(tmp_path, {"sys/class/dmi/id/product_name": "Grace Server"})
    facts = facts_of(root, "aarch64", [H200])
    assert identify(load_profile("jetson-orin").to_json(), facts=facts).status == "mismatch"
    assert identify(load_profile("cuda").to_json(), facts=facts).status == "match"
    assert machine.device_name(facts, gpu=True) == "NVIDIA H200 (Grace Server)"


def test_a_driver_that_refuses_is_unreadable(tmp_path: Path) -> None:
    facts = facts_of(copied(tmp_path, PC), "x86_64", None)
    assert identify(load_profile("cuda").to_json(), facts=facts).status == "unreadable"


def test_state_is_read_where_it_is_and_skipped_where_it_is_not(tmp_path: Path) -> None:
    assert machine.read_state(tmp_path) == {"memory_available_mb": 0}
    zones = "sys/class/thermal/thermal_zone"
    cpu = "sys/devices/system/cpu/cpu"
    root = copied(
        tmp_path,
        {
            f"{zones}0/type": "cpu-thermal\n",
            f"{zones}0/temp": "58950\n",
            f"{zones}1/type": "gpu-thermal\n",
            f"{zones}1/temp": "-256000\n",
            f"{zones}2/type": "cpu-thermal\n",
            f"{zones}2/temp": "61000\n",
            f"{cpu}0/cpufreq/scaling_governor": "ondemand\n",
            f"{cpu}0/cpufreq/scaling_cur_freq": "1500000\n",
            f"{cpu}1/cpufreq/scaling_cur_freq": "2400000\n",
            f"{cpu}0/cpufreq/scaling_max_freq": "2400000\n",
            "proc/loadavg": "0.50 0.25 0.10 1/200 999\n",
        },
    )
    assert machine.read_state(root) == {
        "memory_available_mb": 1000,
        "load_average": [0.5, 0.25, 0.1],
        "cpu": {"governors": ["ondemand"], "mhz": 1500, "max_mhz": 2400},
        "temperature_c": {"cpu-thermal": 61.0},
    }


def test_cores_follow_the_container_and_count_a_core_once(tmp_path: Path) -> None:
    assert machine.physical_cores(copied(tmp_path, {"sys/fs/cgroup/cpu.max": "150000 100000"})) == 1
    one_core = {f"sys/devices/system/cpu/cpu{i}/topology/thread_siblings_list": "0-1" for i in range(512)}
    assert machine.physical_cores(copied(tmp_path / "smt", one_core)) == 1
    assert 1 <= machine.physical_cores() <= 8


def test_power_mode_and_throttling_are_read_from_what_the_tools_print() -> None:
    assert machine.parse_power_mode("NVPM WARN: fan mode is not set!\nNV Power Mode: MODE_20W_6CORE\n8\n") == (
        "MODE_20W_6CORE"
    )
    assert machine.parse_power_mode("NVPM ERROR: request for bad power mode 2\n") is None
    assert machine.parse_throttled("throttled=0x50005\n") == 0x50005
    assert machine.parse_throttled("Can't open device file: /dev/vcio\n") is None


def test_gpu_numbers_that_are_not_told_are_left_out() -> None:
    assert machine.parse_gpu_state("P0, 74, 1215, 2040, 71.98, 0x0000000000000004\n") == {
        "pstate": "P0",
        "temperature_c": 74.0,
        "sm_mhz": 1215.0,
        "sm_max_mhz": 2040.0,
        "power_w": 71.98,
        "slowed": 4,
    }
    assert machine.parse_gpu_state("[N/A], 62, [N/A], [N/A], 37.53, [N/A]\n") == {
        "temperature_c": 62.0,
        "power_w": 37.53,
    }
    assert machine.parse_gpu_state("") == {}


@pytest.mark.parametrize(
    ("said", "code", "free"),
    [
        ("143771, 120000", 0, 120_000.0),
        ("[N/A], [N/A]", 0, None),
        ("Unable to determine the device handle for GPU0: 0000:3B:00.0: Unknown Error", 0, None),
        ("143771, 120000", 9, None),
        ("", 0, None),
    ],
)
def test_the_free_memory_of_a_gpu_is_a_number_or_not_told(
    said: str, code: int, free: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho '{said}'\nexit {code}\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.gpu_free_mb(H200) == free
    tool.unlink()
    assert machine.gpu_free_mb(H200) is None


def test_what_a_whole_card_has_free_is_not_taken_for_that_of_a_slice() -> None:
    assert machine.parse_gpu_free_mb("143771, 120000\n", 17_000) is None


@pytest.mark.parametrize(
    ("before", "after", "flaws"),
    [
        ({}, {}, []),
        ({}, {"temperature_c": {"cpu": 80.0}}, []),
        ({}, {"temperature_c": {"cpu": 70.0, "soc": 80.5}}, [Flaw("hot", "soc", 80.5, 80)]),
        ({}, {"gpu": {"temperature_c": 91.0}}, [Flaw("hot", "gpu", 91.0, 80)]),
        ({"throttled": 0}, {"throttled": 0x4}, [Flaw("throttled", "throttled")]),
        ({"throttled": 0x50000}, {"throttled": 0x50000}, []),  # it happened earlier, since boot
        ({"throttled": 0x10000}, {"throttled": 0x50000}, [Flaw("throttled", "throttled")]),
        ({}, {"gpu": {"slowed": 0x1}}, []),  # idle
        (
            {},
            {"gpu": {"slowed": 0x60}},
            [
                Flaw("throttled", "GPU software thermal slowdown"),
                Flaw("throttled", "GPU hardware thermal slowdown"),
            ],
        ),
    ],
)
def test_a_hot_or_throttled_run_is_invalid(before: dict, after: dict, flaws: list[Flaw]) -> None:
    found = why_invalid(before, after, hot_c=80)
    assert found == flaws
    assert all(flaw.may_pass for flaw in found)
