"""Which machine this is, and whether it is the board a profile means. The state it is in is `state.py`'s.

Everything is read, nothing is set. `root` is where /proc and /sys are looked up, so that the same code reads a copied
board.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from . import cudart, emulation, nvpmodel
from .cudart import Gpu
from .system import ROOT, device_tree, text

MATCH, MISMATCH, UNREADABLE = "match", "mismatch", "unreadable"


@dataclass(frozen=True)
class Facts:
    """What a machine says about itself. compatible and model are None where a device tree may exist but is hidden
    (a container), () and "" on a machine that has none (a PC). gpus is None where a driver is there but refuses.
    emulated_on: the processor that really computes, "x86" or "ARM", where it plays another; "" where it does not.
    power_mode_as_shipped: of a Jetson, by name; None where it does not tell.
    """

    machine: str
    compatible: tuple[str, ...] | None
    model: str | None
    product: str
    cpu_model: str
    cpu_flags: frozenset[str]
    memory_mb: int
    gpus: tuple[Gpu, ...] | None
    emulated_on: str = ""
    power_mode_as_shipped: str | None = None


class Identity(NamedTuple):
    """status: "match", "mismatch" or "unreadable"; evidence: JSON, what was looked for and what was found."""

    status: str
    evidence: dict[str, Any]


def read_facts(
    root: Path = ROOT, *, machine: str | None = None, gpus: Callable[[], list[Gpu] | None] = cudart.gpus
) -> Facts:
    """The facts of this machine; `machine` and `gpus` replace what the system would say, for a copied board."""
    machine = machine or platform.machine()
    compatible, model = device_tree("compatible", root), device_tree("model", root)
    product = text(root / "sys/class/dmi/id/product_name")
    if compatible is None and model is None and _has_no_tree(root, machine, product):
        compatible, model = [], [""]
    cpu_model, cpu_flags = _cpu(root)
    found = gpus()
    return Facts(
        machine=machine,
        compatible=None if compatible is None else tuple(compatible),
        model=None if model is None else " ".join(model).strip(),
        product=product,
        cpu_model=cpu_model,
        cpu_flags=cpu_flags,
        memory_mb=memory_total_mb(root),
        gpus=None if found is None else tuple(found),
        emulated_on=emulation.emulated_on(root, machine),
        power_mode_as_shipped=nvpmodel.shipped_mode(root),
    )


def identify(profile: dict[str, Any], root: Path = ROOT, *, facts: Facts | None = None) -> Identity:
    """Whether this is the board of `profile` (Profile.to_json()): every key of its [identify] has to match.

    One key that does not match makes it a mismatch; else one that cannot be read makes it unreadable. An emulated
    processor is no board.
    """
    facts = facts or read_facts(root)
    wanted = profile.get("identify", {})
    gpu = facts.gpus[0] if facts.gpus else None
    checks: dict[str, tuple[object, object, bool | None]] = {}

    def check(key: str, found: object, good: bool | None) -> None:
        checks[key] = (wanted[key], found, good)

    if facts.emulated_on:
        checks["emulated_on"] = (None, facts.emulated_on, False)
    if wanted.get("compatible"):
        check("compatible", facts.compatible, _any_in(wanted["compatible"], facts.compatible))
    if wanted.get("not_compatible"):
        present = _any_in(wanted["not_compatible"], facts.compatible)
        check("not_compatible", facts.compatible, None if present is None else not present)
    if wanted.get("model"):
        check("model", facts.model, _any_in(wanted["model"], None if facts.model is None else (facts.model,)))
    if wanted.get("machine"):
        check("machine", facts.machine, facts.machine in wanted["machine"])
    if wanted.get("cpu_model"):
        check(
            "cpu_model", facts.cpu_model, _any_in(wanted["cpu_model"], (facts.cpu_model,)) if facts.cpu_model else None
        )
    if wanted.get("cpu_flags"):
        lacking = sorted(set(wanted["cpu_flags"]) - facts.cpu_flags)
        check("cpu_flags", f"lacking {lacking}" if lacking else "all", not lacking)
    if wanted.get("gpu"):
        check("gpu", gpu.name if gpu else None, None if facts.gpus is None else gpu is not None)
    if wanted.get("min_compute_capability") and gpu is not None:
        enough = _version(gpu.compute_capability) >= _version(wanted["min_compute_capability"])
        check("min_compute_capability", gpu.compute_capability, enough)
    if wanted.get("min_memory_mb"):
        check("min_memory_mb", facts.memory_mb, facts.memory_mb >= wanted["min_memory_mb"] if facts.memory_mb else None)
    results = [good for _, _, good in checks.values()]
    status = MISMATCH if False in results else UNREADABLE if None in results else MATCH
    evidence: dict[str, Any] = {
        key: {"wanted": want, "found": list(found) if isinstance(found, tuple) else found, "ok": good}
        for key, (want, found, good) in checks.items()
    }
    if gpu is not None:
        evidence["gpu_facts"] = asdict(gpu)
    evidence["memory_total_mb"] = facts.memory_mb
    if facts.power_mode_as_shipped is not None:
        evidence["power_mode_as_shipped"] = facts.power_mode_as_shipped
    return Identity(status, evidence)


def device_name(facts: Facts | None = None, *, gpu: bool = False) -> str:
    """The machine in a few words: the board if it is one, else the processor; the GPU too where `gpu` is asked for."""
    facts = facts or read_facts()
    if facts.emulated_on:
        return f"emulated {facts.machine} on {facts.emulated_on}"
    name = facts.model or facts.cpu_model or facts.product or facts.machine
    if module := _module_in(facts.compatible or ()):
        name = f"{name} ({module})"
    if gpu and facts.gpus and not facts.gpus[0].integrated:
        return f"{facts.gpus[0].name} ({name})"
    return name


def board_module(root: Path = ROOT) -> str | None:
    """The module of a Jetson, such as "p3767-0003"; None on other machines and where the device tree is hidden."""
    return _module_in(device_tree("compatible", root) or ())


def memory_total_mb(root: Path = ROOT) -> int:
    """MemTotal in MiB, 0 where unknown."""
    return _meminfo_kb(root, "MemTotal") // 1024


def memory_available_mb(root: Path = ROOT) -> float:
    """MemAvailable in MiB, 0 where unknown."""
    return _meminfo_kb(root, "MemAvailable") / 1024


def _has_no_tree(root: Path, machine: str, product: str) -> bool:
    """Whether a machine that shows no device tree has none: a PC, and most ARM servers, which use DMI or ACPI.

    A Jetson has both, so that in a container, where its tree is hidden, DMI alone would make a server of it: its
    product, kernel, L4T release or SoC tell.
    """
    if machine in ("x86_64", "AMD64", "i686"):
        return True
    told = (product, text(root / "proc/sys/kernel/osrelease"), text(root / "sys/devices/soc0/family"))
    if re.search("jetson|tegra", " ".join(told), re.I) or text(root / "etc/nv_tegra_release"):
        return False
    return bool(product) or (root / "sys/firmware/acpi").is_dir()


def _cpu(root: Path) -> tuple[str, frozenset[str]]:
    model, flags = "", frozenset[str]()
    for line in text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and not model:
            model = value.strip()
        elif key.strip() in ("flags", "Features") and not flags:
            flags = frozenset(value.split())
    return model, flags


def _meminfo_kb(root: Path, key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+) kB", text(root / "proc/meminfo"), re.MULTILINE)
    return int(found.group(1)) if found else 0


def _module_in(compatible: Iterable[str]) -> str | None:
    for board in compatible:
        if modules := re.findall(r"p\d{4}-\d{4}", board):  # "p3737-0000+p3701-0005": the carrier, then the module
            return modules[-1]
    return None


def _any_in(wanted: list[str], found: tuple[str, ...] | None) -> bool | None:
    return None if found is None else any(want in text for want in wanted for text in found)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("."))
