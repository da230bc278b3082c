"""The firmware's bits, from whatever tells them; and what they say of a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from copied_board import copied, expected, hwmon, sample
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedistill.targets.raspberry_pi import BITS, events, firmware_bits, parse_sysfs, parse_vcgencmd

PI = {"proc/device-tree/model": "Raspberry Pi 5 Model B Rev 1.0|"}
NODES = {
    "Pi 4": "sys/devices/platform/soc/soc:firmware/get_throttled",
    "Pi 5": "sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled",
}
WORDS = st.integers(0, 0xF000F)


@pytest.mark.parametrize("board", NODES)
def test_without_vcgencmd_the_kernels_node_tells(tmp_path: Path, board: str) -> None:
    root = copied(tmp_path, PI | {NODES[board]: "50005\n"} | hwmon(1, "rpi_volt", in0_lcrit_alarm=1))
    assert firmware_bits(root) == {"bits": 0x50005, "source": "get_throttled"}


def test_a_node_that_no_driver_keeps_fresh_is_not_believed(tmp_path: Path) -> None:
    assert firmware_bits(copied(tmp_path, PI | {NODES["Pi 5"]: "0\n"})) == {"bits": None, "source": None}


def test_else_the_under_voltage_alarm_does(tmp_path: Path) -> None:
    for alarm in (0, 1):
        root = copied(tmp_path, PI | hwmon(alarm, "cpu_thermal") | hwmon(2, "rpi_volt", in0_lcrit_alarm=alarm))
        assert firmware_bits(root) == {"bits": alarm, "source": "rpi_volt"}


def test_a_raspberry_pi_that_does_not_tell_is_told_from_other_machines(tmp_path: Path) -> None:
    assert firmware_bits(copied(tmp_path / "pi", PI)) == {"bits": None, "source": None}
    assert firmware_bits(copied(tmp_path / "pi2", PI | hwmon(2, "rpi_volt"))) == {"bits": None, "source": None}
    hidden = {"psys/firmware/devicetree/base/model": PI["proc/device-tree/model"]}  # in Docker
    assert firmware_bits(copied(tmp_path / "container", hidden)) == {"bits": None, "source": None}
    assert firmware_bits(copied(tmp_path / "pc", {})) == {}


def test_vcgencmd_goes_first_unless_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "vcgencmd"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for code, found in ((0, {"bits": 0x80008, "source": "vcgencmd"}), (255, {})):
        tool.write_text(f"#!/bin/sh\necho throttled=0x80008\nexit {code}\n")
        tool.chmod(0o755)
        assert firmware_bits() == found


def test_what_the_tool_says_without_access_is_no_word() -> None:
    assert parse_vcgencmd("Can't open device file: /dev/vcio\nTry creating a device file with: sudo mknod\n") is None
    assert parse_sysfs("") is parse_sysfs("throttled") is None


@settings(max_examples=30)
@given(st.text())
def test_nothing_raises(said: str) -> None:
    for parse in (parse_vcgencmd, parse_sysfs):
        found = parse(said)
        assert found is None or found >= 0


@settings(max_examples=30)
@given(WORDS)
def test_a_word_is_read_back(word: int) -> None:
    assert parse_vcgencmd(f"throttled={word:#x}\n") == parse_sysfs(f"{word:x}") == word


@pytest.mark.parametrize(
    ("before", "samples", "found"),
    [
        (0, [0], []),
        (0, [0x4], ["throttled"]),
        (0x50000, [0x50000, 0x50000], []),  # it happened earlier, since boot
        (0x10000, [0x50000], ["throttled"]),
        (0x50000, [0x50004, 0x50000], ["throttled"]),  # hidden behind its own old bit, seen by a sample
        (0x1, [0x10000], ["under-voltage"]),  # at the start
    ],
)
def test_events_are_those_of_this_run(before: int, samples: list[int], found: list[str]) -> None:
    assert events(before, samples) == found


@settings(max_examples=30)
@given(WORDS, st.lists(WORDS))
def test_old_bits_alone_are_no_event_and_acute_ones_always_are(before: int, samples: list[int]) -> None:
    old = before & 0xF0000
    assert events(old, [old] * len(samples)) == []
    acute = {what for bit, what in BITS.items() if any(word >> bit & 1 for word in (before, *samples))}
    assert acute <= set(events(before, samples))


def test_the_bits_of_samples() -> None:
    names = {"under-voltage": "under_voltage", "clock capped": "arm_freq_capped"}
    names |= {"throttled": "throttled", "soft temperature limit": "soft_temp_limit"}
    wanted = expected("vcgencmd_get_throttled.txt")
    for case, said in sample("vcgencmd_get_throttled.txt").items():
        word = parse_vcgencmd(said)
        if word is None:
            assert case == "tool present, no access"
            continue
        acute = [f"{names[what]}_now" for what in events(word & 0xF, [])]
        earlier = [f"{names[what]}_since_boot" for what in events(0, [word & 0xF0000])]
        assert acute + earlier == wanted[case]
