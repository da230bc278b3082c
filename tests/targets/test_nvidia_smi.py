"""Of nvidia-smi only numbers count, and only where it says that it succeeded."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
from copied_board import expected, sample
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedistill.targets.cudart import Gpu
from edgedistill.targets.nvidia_smi import POWER_CAP, SLOWED, gpu_free_mb, gpu_state, parse_free_mb, parse_state

H200 = Gpu("NVIDIA H200", "9.0", 132, 143_771, False, "0000:3b:00.0")
ORIN = Gpu("Orin", "8.7", 16, 62_841, True, "0000:00:00.0")
BUSY = "P0, 74, 1215, 2040, 71.98, 0x0000000000000004"
Tool = Callable[[str], None]


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tool:
    """Puts a shell script in nvidia-smi's place."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    def written(script: str) -> None:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "nvidia-smi").chmod(0o755)

    return written


def test_numbers_that_are_not_told_are_left_out() -> None:
    assert parse_state(BUSY + "\n") == {
        "pstate": "P0",
        "temperature_c": 74.0,
        "mhz": 1215.0,
        "max_mhz": 2040.0,
        "power_w": 71.98,
        "slowed": POWER_CAP,
    }
    assert parse_state("[N/A], 62, [N/A], [N/A], 37.53, [N/A]\n") == {"temperature_c": 62.0, "power_w": 37.53}
    assert parse_state("N/A, N/A, N/A, N/A, N/A, N/A") == {}


@pytest.mark.parametrize(
    "said",
    [
        "",
        "No devices were found",
        "Unable to determine the device handle for GPU0: 0000:3B:00.0: Unknown Error",
        "P0, 74, 1215, 2040, 71.98",
        'Field "clocks_event_reasons.active" is not a valid field to query.',
    ],
)
def test_a_sentence_is_no_state(said: str, tool: Tool) -> None:
    assert parse_state(said) == {}
    tool(f"echo '{said}'")
    assert gpu_state(H200) == {}


@settings(max_examples=30)
@given(st.text())
def test_nothing_raises_and_what_is_found_is_a_number_or_a_pstate(said: str) -> None:
    for name, value in parse_state(said).items():
        assert isinstance(value, str if name == "pstate" else int | float)


def test_an_answer_with_an_error_code_is_none(tool: Tool) -> None:
    tool(f"echo '{BUSY}'; exit 9")
    assert gpu_state(H200) == {}
    tool(f"echo '{BUSY}'")
    assert gpu_state(H200)["mhz"] == 1215.0


def test_an_older_driver_is_asked_by_its_own_names(tool: Tool) -> None:
    tool(f'case "$2" in *event_reasons*) echo "not a valid field"; exit 2;; esac\necho "{BUSY}"')
    assert gpu_state(H200)["slowed"] == POWER_CAP


def test_a_jetsons_is_not_asked(tool: Tool) -> None:
    tool(f"echo '{BUSY}'")
    assert gpu_state(ORIN) == {}


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
def test_free_memory_is_a_number_or_not_told(said: str, code: int, free: float | None, tool: Tool) -> None:
    assert gpu_free_mb(H200) is None
    tool(f"echo '{said}'\nexit {code}")
    assert gpu_free_mb(H200) == free


def test_what_a_whole_gpu_has_free_is_not_taken_for_that_of_a_slice() -> None:
    assert parse_free_mb("143771, 120000\n", 17_000) is None


REASONS = {
    0x8: "hw_slowdown",
    0x20: "sw_thermal_slowdown",
    0x40: "hw_thermal_slowdown",
    0x80: "hw_power_brake_slowdown",
}


@pytest.mark.parametrize("name", ["nvidia_smi_query_old.csv", "nvidia_smi_query_new.csv"])
def test_the_reasons_of_samples(name: str) -> None:
    """The samples hold more columns, with units: ours are picked from them by name."""
    wanted = expected(name)
    for case, text in sample(name).items():
        rows = list(csv.DictReader(text.splitlines(), skipinitialspace=True))
        for row, told in zip(rows, wanted[case] if isinstance(wanted[case], list) else ()):
            plain = {key.split(" ")[0]: value.split(" ")[0] for key, value in row.items()}
            reasons = next((plain[key] for key in plain if key.endswith("_reasons.active")), "[N/A]")
            columns = ("pstate", "temperature.gpu", "clocks.current.sm", "clocks.max.sm", "power.draw")
            found = parse_state(", ".join([*(plain.get(column, "[N/A]") for column in columns), reasons]))
            slowed = {REASONS[bit] for bit in SLOWED if found.get("slowed", 0) & bit}
            assert slowed == set(told["active"]) & set(REASONS.values())
            assert bool(found.get("slowed", 0) & POWER_CAP) == ("sw_power_cap" in told["active"])
