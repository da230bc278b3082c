"""Whether this processor is played by another: then answers can be checked here, and a time says nothing of a board.

qemu's user mode answers uname itself, and lets a program read the host's /proc/cpuinfo; newer ones make one up (qemu,
linux-user/arm/target_proc.h). /proc/thread-self/exe stays the emulator, where that of /proc/self is said to be the
program (linux-user/syscall.c, is_proc_myself). A whole emulated machine does not show itself this way.
"""

from __future__ import annotations

from pathlib import Path

from .errors import TargetError
from .system import head, text

# Architectures by what uname calls them, by lines of /proc/cpuinfo that only they have, and by the number in an ELF
# file's header (e_machine of elf.h): a 32-bit program on a 64-bit processor is no emulation.
_NAMES = {"x86": ("x86_64", "AMD64", "i386", "i686"), "ARM": ("aarch64", "arm64", "armv8l", "armv7l", "armv6l")}
_CPUINFO_LINES = {"x86": {"vendor_id", "flags"}, "ARM": {"CPU implementer"}}
_ELF_MACHINES = {3: "x86", 62: "x86", 40: "ARM", 183: "ARM"}


def emulated_on(root: Path, machine: str) -> str:
    """The processor that plays a `machine`, as uname calls it: "x86", "ARM"; "" where it is one, or nothing tells."""
    claimed = next((kind for kind, names in _NAMES.items() if machine in names), None)
    keys = {line.partition(":")[0].strip() for line in text(root / "proc/cpuinfo").splitlines()}
    found = [kind for kind, lines in _CPUINFO_LINES.items() if lines <= keys]
    header = head(root / "proc/thread-self/exe", 20)
    if header.startswith(b"\x7fELF") and (program := _ELF_MACHINES.get(int.from_bytes(header[18:20], "little"))):
        found.append(program)
    return next((kind for kind in found if claimed is not None and kind != claimed), "")


def refuse_to_time(machine: str, emulated_on: str) -> None:
    """Raise TargetError where a `machine` is emulated."""
    if emulated_on:
        raise TargetError(
            f"this is no {machine} processor: {emulated_on} emulates one, and its times say nothing",
            "Measure on the board. Whether the outputs are right can be seen here: python run.py verify",
        )
