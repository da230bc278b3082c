"""Which machine this is, whether it is the board a profile means, and the state it is in.

Everything is read, nothing is set. What cannot be read is left out: a probe that is missing is no error.
`root` is where /proc and /sys are looked up, so that the same code reads a copied board.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from . import cudart
from .cudart import Gpu
from .flaws import Flaw

MATCH, MISMATCH, UNREADABLE = "match", "mismatch", "unreadable"
ROOT = Path("/")
_TOOL_TIMEOUT_S = 10

# NVML's clocks-event reasons that slow the GPU down: power cap, hardware slowdown, software and hardware thermal
# slowdown, power brake. The others (idle, a clock set by the user, a display) say nothing against a run.
_GPU_SLOWED = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
# vcgencmd get_throttled: now in bits 0-3, since boot in bits 16-19.
_PI_THROTTLED = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


@dataclass(frozen=True)
class Facts:
    """What a machine says about itself. compatible and model are None where a device tree may exist but is hidden
    (a container), () and "" on a machine that has none (a PC). gpus is None where a driver is there but refuses.
    """

    machine: str
    compatible: tuple[str, ...] | None
    model: str | None
    product: str
    cpu_model: str
    cpu_flags: frozenset[str]
    memory_mb: int
    gpus: tuple[Gpu, ...] | None


class Identity(NamedTuple):
    """status: "match", "mismatch" or "unreadable"; evidence: JSON, what was looked for and what was found."""

    status: str
    evidence: dict[str, Any]


def read_facts(
    root: Path = ROOT, *, machine: str | None = None, gpus: Callable[[], list[Gpu] | None] = cudart.gpus
) -> Facts:
    """The facts of this machine; `machine` and `gpus` replace what the system would say, for a copied board."""
    tree = root / "proc/device-tree"
    machine = machine or platform.machine()
    compatible, model = _strings(tree / "compatible"), _strings(tree / "model")
    product = _text(root / "sys/class/dmi/id/product_name")
    if not compatible and not model:
        # A PC and most ARM servers describe themselves by DMI or ACPI and have no device tree at all.
        has_none = machine in ("x86_64", "AMD64", "i686") or bool(product) or (root / "sys/firmware/acpi").is_dir()
        compatible, model = ([], [""]) if has_none else (None, None)
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
    )


def identify(profile: dict[str, Any], root: Path = ROOT, *, facts: Facts | None = None) -> Identity:
    """Whether this is the board of `profile` (Profile.to_json()): every key of its [identify] has to match.

    One key that does not match makes it a mismatch; else one that cannot be read makes it unreadable.
    """
    facts = facts or read_facts(root)
    wanted = profile.get("identify", {})
    gpu = facts.gpus[0] if facts.gpus else None
    checks: dict[str, tuple[object, object, bool | None]] = {}

    def check(key: str, found: object, good: bool | None) -> None:
        checks[key] = (wanted[key], found, good)

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
    return Identity(status, evidence)


def device_name(facts: Facts | None = None, *, gpu: bool = False) -> str:
    """The machine in a few words: the board if it is one, else the processor; the GPU too where `gpu` is asked for."""
    facts = facts or read_facts()
    name = facts.model or facts.cpu_model or facts.product or facts.machine
    if module := _module_in(facts.compatible or ()):
        name = f"{name} ({module})"
    if gpu and facts.gpus and not facts.gpus[0].integrated:
        return f"{facts.gpus[0].name} ({name})"
    return name


def board_module(root: Path = ROOT) -> str | None:
    """The module of a Jetson, such as "p3767-0003"; None on other machines and where the device tree is hidden."""
    return _module_in(_strings(root / "proc/device-tree/compatible") or ())


def gpu_free_mb(gpu: Gpu) -> float | None:
    """Free memory of a GPU in MiB, by nvidia-smi. None where it does not tell: a Jetson, a slice of a card (MIG)."""
    fields = "--query-gpu=memory.total,memory.free"
    done = _run("nvidia-smi", f"--id={gpu.bus_id}", fields, "--format=csv,noheader,nounits")
    if done is None or done.returncode != 0:
        return None
    return parse_gpu_free_mb(done.stdout, gpu.memory_mb)


def memory_total_mb(root: Path = ROOT) -> int:
    """MemTotal in MiB, 0 where unknown."""
    return _meminfo_kb(root, "MemTotal") // 1024


def memory_available_mb(root: Path = ROOT) -> float:
    """MemAvailable in MiB, 0 where unknown."""
    return _meminfo_kb(root, "MemAvailable") / 1024


def physical_cores(root: Path = ROOT) -> int:
    """Physical cores this process may use, at most 8: its CPU set, two threads of a core once, under the cgroup quota.

    Containers get their share by quota and still see every core of the host, so os.cpu_count() would be too many.
    """
    usable = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    siblings = {
        _text(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list") or str(cpu) for cpu in usable
    }
    return max(1, min(8, len(siblings), int(_cgroup_quota(root))))


def power_mode(root: Path = ROOT) -> str | None:
    """The name of a Jetson's power mode; numbers are not portable between modules. None elsewhere."""
    return parse_power_mode(_tool("nvpmodel", "-q")) if root == ROOT else None


def read_state(root: Path = ROOT, *, gpu: Gpu | None = None) -> dict[str, Any]:
    """Load, clocks, temperatures (Celsius), throttling and power mode as JSON; only what this machine can tell.

    Takes some milliseconds to a second, since it asks vcgencmd, nvpmodel and nvidia-smi where they exist.
    """
    state: dict[str, Any] = {"memory_available_mb": round(memory_available_mb(root))}
    if load := _text(root / "proc/loadavg"):
        state["load_average"] = [float(number) for number in load.split()[:3]]
    if clocks := _cpu_clocks(root):
        state["cpu"] = clocks
    if temperatures := _temperatures(root):
        state["temperature_c"] = temperatures
    if root == ROOT:
        throttled = parse_throttled(_tool("vcgencmd", "get_throttled"))
        if throttled is not None:
            state["throttled"] = throttled
        if mode := power_mode(root):
            state["power_mode"] = mode
        if gpu is not None and (numbers := _gpu_state(gpu)):
            state["gpu"] = numbers
    return state


def why_invalid(before: dict[str, Any], after: dict[str, Any], hot_c: float) -> list[Flaw]:
    """Why a run between two states does not count: it ended above `hot_c` degrees Celsius, or the machine throttled."""
    flaws = []
    temperatures = dict(after.get("temperature_c", {}))
    if "temperature_c" in after.get("gpu", {}):
        temperatures["gpu"] = after["gpu"]["temperature_c"]
    if temperatures:
        place = max(temperatures, key=lambda zone: temperatures[zone])
        if temperatures[place] > hot_c:
            flaws.append(Flaw("hot", place, temperatures[place], hot_c))
    now, earlier = after.get("throttled", 0), before.get("throttled", 0)
    for bit, what in _PI_THROTTLED.items():
        acute = (now | earlier) >> bit & 1
        new = (now & ~earlier) >> (16 + bit) & 1
        if acute or new:
            flaws.append(Flaw("throttled", what))
    for bit, what in _GPU_SLOWED.items():
        if after.get("gpu", {}).get("slowed", 0) & bit:
            flaws.append(Flaw("throttled", f"GPU {what}"))
    return flaws


def parse_power_mode(text: str) -> str | None:
    """`nvpmodel -q` -> "MAXN"; warnings before the line are common."""
    found = re.search(r"^NV Power Mode:\s*(\S+)", text, re.MULTILINE)
    return found.group(1) if found else None


def parse_throttled(text: str) -> int | None:
    """`vcgencmd get_throttled` -> the bits."""
    found = re.search(r"throttled=(0x[0-9a-fA-F]+)", text)
    return int(found.group(1), 16) if found else None


def parse_gpu_state(text: str) -> dict[str, Any]:
    """One line of `nvidia-smi --query-gpu` with _GPU_FIELDS in csv,noheader,nounits; absent numbers are left out."""
    state: dict[str, Any] = {}
    for name, value in zip(_GPU_FIELDS.values(), text.strip().split("\n")[0].split(",")):
        value = value.strip()
        try:
            state[name] = int(value, 16) if name == "slowed" else float(value)
        except ValueError:
            if value and not value.startswith("["):  # "[N/A]": this GPU does not tell
                state[name] = value
    return state


def parse_gpu_free_mb(text: str, memory_mb: int) -> float | None:
    """Free MiB from a line "total, free" of nvidia-smi. None without numbers, and where the total is far above the
    driver's `memory_mb`: of a slice of a card nvidia-smi tells what the whole card has free."""
    found = re.fullmatch(r"(\d+), *(\d+)", text.strip())
    if found is None or int(found.group(1)) > 1.1 * memory_mb:
        return None
    return float(found.group(2))


_GPU_FIELDS = {
    "pstate": "pstate",
    "temperature.gpu": "temperature_c",
    "clocks.current.sm": "sm_mhz",
    "clocks.max.sm": "sm_max_mhz",
    "power.draw": "power_w",
    "clocks_event_reasons.active": "slowed",
}


def _gpu_state(gpu: Gpu) -> dict[str, Any]:
    fields = ",".join(_GPU_FIELDS)
    for names in (fields, fields.replace("clocks_event_reasons", "clocks_throttle_reasons")):  # drivers before 535
        text = _tool("nvidia-smi", f"--id={gpu.bus_id}", f"--query-gpu={names}", "--format=csv,noheader,nounits")
        if text and "not a valid field" not in text:
            return parse_gpu_state(text)
    return {}


def _cpu_clocks(root: Path) -> dict[str, Any]:
    """Governors, and the slowest current and the highest allowed clock over all cores, in MHz."""
    governors, current, allowed = set(), [], []
    for folder in root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq"):
        governors.add(_text(folder / "scaling_governor"))
        current.append(_text(folder / "scaling_cur_freq"))
        allowed.append(_text(folder / "scaling_max_freq"))
    now, most = ([int(khz) // 1000 for khz in values if khz.isdigit()] for values in (current, allowed))
    if not now and not most:
        return {}
    return {"governors": sorted(governors - {""}), "mhz": min(now, default=None), "max_mhz": max(most, default=None)}


def _temperatures(root: Path) -> dict[str, float]:
    """Thermal zones by type, the hottest of equal names; switched-off sensors (-256 C, no answer) are left out."""
    found: dict[str, float] = {}
    for zone in root.glob("sys/class/thermal/thermal_zone*"):
        kind, text = _text(zone / "type"), _text(zone / "temp")
        if re.fullmatch(r"-?\d+", text) and -40 < (celsius := int(text) / 1000) < 200:
            found[kind] = max(celsius, found.get(kind, celsius))
    return found


def _cgroup_quota(root: Path) -> float:
    """CPUs that the cgroup allows (version 2, then 1); infinity without a limit."""
    fields = _text(root / "sys/fs/cgroup/cpu.max").split()
    if len(fields) != 2:
        fields = [_text(root / f"sys/fs/cgroup/cpu/cpu.cfs_{name}_us") for name in ("quota", "period")]
    if all(field.isdigit() for field in fields) and int(fields[1]) > 0:
        return max(1.0, int(fields[0]) / int(fields[1]))
    return 1e9


def _cpu(root: Path) -> tuple[str, frozenset[str]]:
    model, flags = "", frozenset[str]()
    for line in _text(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and not model:
            model = value.strip()
        elif key.strip() in ("flags", "Features") and not flags:
            flags = frozenset(value.split())
    return model, flags


def _meminfo_kb(root: Path, key: str) -> int:
    found = re.search(rf"^{key}:\s+(\d+) kB", _text(root / "proc/meminfo"), re.MULTILINE)
    return int(found.group(1)) if found else 0


def _module_in(compatible: Iterable[str]) -> str | None:
    for text in compatible:
        if modules := re.findall(r"p\d{4}-\d{4}", text):  # "p3737-0000+p3701-0005": the carrier, then the module
            return modules[-1]
    return None


def _any_in(wanted: list[str], found: tuple[str, ...] | None) -> bool | None:
    return None if found is None else any(want in text for want in wanted for text in found)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split("."))


def _strings(path: Path) -> list[str] | None:
    """NUL-separated strings of a device tree file; None when it cannot be read or is empty."""
    try:
        return [text for text in path.read_bytes().decode("utf-8", "replace").split("\0") if text.strip()] or None
    except OSError:
        return None


def _text(path: Path) -> str:
    """A small file of /proc or /sys, "" when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _tool(*command: str) -> str:
    """What a command prints on stdout and stderr, "" when it is not there or hangs."""
    done = _run(*command)
    return "" if done is None else done.stdout + done.stderr


def _run(*command: str) -> subprocess.CompletedProcess[str] | None:
    """A command that has ended, None when it is not there or hangs."""
    if shutil.which(command[0]) is None:
        return None
    try:
        return subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=_TOOL_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
