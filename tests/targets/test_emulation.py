"""An emulator shows itself by the host's /proc/cpuinfo, or by the program that the kernel runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from copied_board import copied

from edgedistill.targets.emulation import emulated_on, refuse_to_time
from edgedistill.targets.errors import TargetError

X86 = "vendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Xeon(R) CPU\nflags\t\t: fpu avx2\n"
ARM = "BogoMIPS\t: 108.00\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n"
RISCV = "isa\t: rv64imafdc\n"
ELF = {"i386": 3, "x86_64": 62, "arm": 40, "aarch64": 183}


def here(root: Path, cpuinfo: str, runs: str | None) -> Path:
    """A root with this cpuinfo, where the kernel runs an ELF of this kind; None: it does not tell."""
    copied(root, {"proc/cpuinfo": cpuinfo, "proc/thread-self/exe": ""})
    if runs:
        header = b"\x7fELF\2\1\1" + bytes(9) + b"\2\0" + ELF[runs].to_bytes(2, "little")
        (root / "proc/thread-self/exe").write_bytes(header + bytes(44))
    return root


@pytest.mark.parametrize(
    ("name", "cpuinfo", "runs", "on"),
    [
        ("aarch64", X86, "x86_64", "x86"),
        ("aarch64", X86, None, "x86"),
        ("aarch64", ARM, "x86_64", "x86"),  # a newer qemu makes up the cpuinfo
        ("armv7l", X86, "x86_64", "x86"),
        ("x86_64", ARM, "aarch64", "ARM"),
    ],
)
def test_another_processor_than_uname_says_is_an_emulator(
    tmp_path: Path, name: str, cpuinfo: str, runs: str | None, on: str
) -> None:
    assert emulated_on(here(tmp_path, cpuinfo, runs), name) == on
    with pytest.raises(TargetError, match=f"no {name} processor: {on} emulates one"):
        refuse_to_time(name, on)


@pytest.mark.parametrize(
    ("name", "cpuinfo", "runs"),
    [
        ("aarch64", ARM, "aarch64"),
        ("aarch64", ARM, "arm"),  # a 32-bit Raspberry Pi OS under its 64-bit kernel
        ("x86_64", X86, "i386"),
        ("aarch64", "", None),
        ("riscv64", RISCV, "x86_64"),  # of a processor that is not known nothing is said
    ],
)
def test_one_that_is_what_uname_says_is_none(tmp_path: Path, name: str, cpuinfo: str, runs: str | None) -> None:
    assert emulated_on(here(tmp_path, cpuinfo, runs), name) == ""
    refuse_to_time(name, "")


def test_a_root_that_tells_nothing_is_none(tmp_path: Path) -> None:
    assert emulated_on(tmp_path, "aarch64") == ""
