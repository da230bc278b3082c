"""A machine is recognised by what it says about itself; copied boards stand in for the ones not at hand."""

from __future__ import annotations

from pathlib import Path

import pytest
from copied_board import copied, expected, sample

from edgedistill.profiles import fitting, list_profiles, load_profile
from edgedistill.targets import machine
from edgedistill.targets.cudart import Gpu
from edgedistill.targets.machine import Facts, identify, read_facts

ORIN_GPU = Gpu("Orin", "8.7", 16, 62_841, True, "0000:00:00.0")
H200 = Gpu("NVIDIA H200", "9.0", 132, 143_771, False, "0000:3b:00.0")
THOR_GPU = Gpu("NVIDIA Thor", "11.0", 20, 125_000, True, "0000:01:00.0")
PC = {"proc/cpuinfo": "model name\t: Intel(R) Xeon(R) CPU\nflags\t\t: fpu avx2\n"}


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
    "orin nano super": (
        "nvidia,p3768-0000+p3767-0005-super|nvidia,p3767-0005|nvidia,tegra234",
        7_600,
        ["jetson-orin-nano", "jetson-orin-nano-super"],
    ),
    "orin nano 4": ("nvidia,p3768-0000+p3767-0004|nvidia,p3767-0004|nvidia,tegra234", 3_400, ["jetson-orin-nano"]),
}


@pytest.mark.parametrize("board", BOARDS)
def test_a_jetson_is_known_by_its_module_whatever_the_carrier_says(tmp_path: Path, board: str) -> None:
    compatible, memory_mb, profiles = BOARDS[board]
    root = copied(tmp_path, jetson(compatible, "Some Carrier 9000"), memory_mb)
    assert [name for name in matching(facts_of(root, "aarch64", [ORIN_GPU])) if name != "cpu"] == profiles


def test_the_device_trees_of_samples_lead_to_their_profiles(tmp_path: Path) -> None:
    told = expected("proc_device_tree_compatible.txt")
    for number, (case, text) in enumerate(sample("proc_device_tree_compatible.txt").items()):
        tree = jetson("|".join(text.split()), "Any")
        gpu = THOR_GPU if "thor" in case else ORIN_GPU
        facts = facts_of(copied(tmp_path / str(number), tree, 200_000), "aarch64", [gpu])
        wanted = told[case]["profile_by_compatible"]
        assert {wanted} - {None} <= set(matching(facts)), case


def test_of_two_profiles_that_fit_the_special_one_goes_first(tmp_path: Path) -> None:
    compatible, memory_mb, _ = BOARDS["orin nano super"]
    facts = facts_of(copied(tmp_path, jetson(compatible, "Any"), memory_mb), "aarch64", [ORIN_GPU])
    assert fitting(facts) == ["jetson-orin-nano-super", "jetson-orin-nano", "cpu"]


@pytest.mark.parametrize("compatible", ["radxa,rock-5b|rockchip,rk3588|", "xunlong,orangepi-5|rockchip,rk3588s|"])
def test_an_rk3588_is_known_by_its_chip(tmp_path: Path, compatible: str) -> None:
    facts = facts_of(copied(tmp_path, jetson(compatible, "Radxa ROCK 5B"), 8_000), "aarch64", [])
    assert fitting(facts) == ["rk3588", "cpu"]


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


def test_an_emulated_processor_is_called_so_and_is_no_board(tmp_path: Path) -> None:
    """A tree of the root that it runs in may look like a board's."""
    tree = jetson("raspberrypi,5-model-b|brcm,bcm2712", "Raspberry Pi 5 Model B Rev 1.0")
    cpuinfo = "vendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) CPU\nflags\t\t: fpu avx2\n"
    facts = facts_of(copied(tmp_path, {**tree, "proc/cpuinfo": cpuinfo}, 8_000), "aarch64", [])
    assert matching(facts) == []
    assert machine.device_name(facts) == "emulated aarch64 on x86"
    assert identify(load_profile("cpu").to_json(), facts=facts).evidence["emulated_on"]["found"] == "x86"
    assert read_facts(gpus=list).emulated_on == ""


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


JETSON_DMI = {"sys/class/dmi/id/product_name": "NVIDIA Jetson AGX Orin Developer Kit"}
HINTS = {
    "its product": JETSON_DMI,
    "its kernel": {"sys/class/dmi/id/product_name": "Carrier", "proc/sys/kernel/osrelease": "5.15.148-tegra"},
    "its L4T release": {"sys/class/dmi/id/product_name": "Carrier", "etc/nv_tegra_release": "# R36 (release)"},
    "its SoC": {"sys/class/dmi/id/product_name": "Carrier", "sys/devices/soc0/family": "Tegra"},
}


@pytest.mark.parametrize("told_by", HINTS)
def test_a_jetson_in_a_container_is_unreadable_and_no_server(tmp_path: Path, told_by: str) -> None:
    """Docker hides /sys/firmware; what is left looks like an ARM server with a GPU."""
    facts = facts_of(copied(tmp_path, HINTS[told_by]), "aarch64", [ORIN_GPU])
    for name in ("jetson-orin", "cuda"):
        assert identify(load_profile(name).to_json(), facts=facts).status == "unreadable"


def test_a_container_that_mounts_the_tree_elsewhere_is_the_board(tmp_path: Path) -> None:
    tree = {"psys/firmware/devicetree/base/compatible": "nvidia,p3737-0000+p3701-0005|nvidia,tegra234|"}
    facts = facts_of(copied(tmp_path, {**JETSON_DMI, **tree}), "aarch64", [ORIN_GPU])
    assert identify(load_profile("jetson-orin").to_json(), facts=facts).status == "match"
    assert identify(load_profile("cuda").to_json(), facts=facts).status == "mismatch"


def test_the_mode_that_a_board_ships_in_is_among_the_evidence(tmp_path: Path) -> None:
    nano = jetson("nvidia,p3768-0000+p3767-0005|nvidia,tegra234", "NVIDIA Jetson Orin Nano Developer Kit")
    told = {"etc/nvpmodel.conf": "< POWER_MODEL ID=0 NAME=15W >\n< PM_CONFIG DEFAULT=0 >\n"}
    profile = load_profile("jetson-orin-nano").to_json()
    for name, files, mode in (("tells", nano | told, "15W"), ("silent", nano, None)):
        facts = facts_of(copied(tmp_path / name, files, 7_619), "aarch64", [ORIN_GPU])
        assert identify(profile, facts=facts).evidence.get("power_mode_as_shipped") == mode
