"""The state a machine is in before, during and after a measurement, and whether a run in it counts.

Everything is read, nothing is set; what cannot be read is left out. `root` as in `system.py`. As JSON:

    memory_available_mb, load_average
    cpu             governors, mhz, max_mhz of the cores that run the model (cores.py)
    temperature_c   every zone (temperatures.py)
    cooling         what slows down because of heat (cooling.py)
    throttle_counts how often x86 processors were slowed down because of heat (cores.py)
    firmware        of a Raspberry Pi: bits, source (raspberry_pi.py)
    over_current    of a Jetson: events since boot (over_current.py)
    power_mode      of a Jetson (nvpmodel.py)
    gpu             clocks and more of the GPU that runs the model (devfreq.py, nvidia_smi.py)

A run does not count when the processor that ran the model ended above the profile's limit, or was slowed down at any
time of the run. Where nothing would have told, throttling is unknown, and that is said: `conditions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import cooling, nvidia_smi, over_current, raspberry_pi, temperatures
from .cores import clocks, throttle_counts
from .cudart import Gpu
from .devfreq import gpu_clocks
from .flaws import Flaw
from .machine import memory_available_mb
from .nvpmodel import power_mode
from .system import ROOT, text

SLOW = 0.5  # of the highest clock: below it a processor at work is told of


def read_state(root: Path = ROOT, *, gpu: Gpu | None = None, threads: int | None = None) -> dict[str, Any]:
    """The state now, for a model on `gpu`, or on the CPU in so many threads. Takes some milliseconds to a second, as
    it asks vcgencmd, nvpmodel and nvidia-smi where they exist."""
    state: dict[str, Any] = {"memory_available_mb": round(memory_available_mb(root))}
    if load := text(root / "proc/loadavg"):
        state["load_average"] = [float(number) for number in load.split()[:3]]
    if frequencies := clocks(threads or 1, root):
        state["cpu"] = frequencies
    if mode := power_mode(root):
        state["power_mode"] = mode
    if gpu is not None and (numbers := gpu_clocks(root) if gpu.integrated else nvidia_smi.gpu_state(gpu)):
        state["gpu"] = numbers
    return state | read_throttling(root)


def read_throttling(root: Path = ROOT) -> dict[str, Any]:
    """The part of the state that tells of throttling, fast enough to be read between the turns of a measurement.

    A GPU's own reasons are not in it: nvidia-smi takes so long that the GPU would fall asleep over it.
    """
    state = {
        "temperature_c": temperatures.temperatures(root),
        "cooling": cooling.cooling_states(root),
        "firmware": raspberry_pi.firmware_bits(root),
        "over_current": over_current.over_current_counts(root),
        "throttle_counts": throttle_counts(root),
    }
    return {name: found for name, found in state.items() if found}


@dataclass(frozen=True)
class Course:
    """A measurement's states: before it, between its turns, and after it, under load. gpu: the one it ran on."""

    before: dict[str, Any]
    during: Sequence[dict[str, Any]]
    after: dict[str, Any]
    gpu: Gpu | None = None

    def to_json(self) -> dict[str, Any]:
        return {"before": self.before, "during": list(self.during), "after": self.after}

    @property
    def _later(self) -> tuple[dict[str, Any], ...]:
        return (*self.during, self.after)

    @property
    def _on_die(self) -> bool:
        """Whether a processor of the board itself did the work, and not a GPU with a power supply of its own."""
        return self.gpu is None or self.gpu.integrated

    def temperature(self) -> tuple[str, float] | None:
        """The hottest place of the processor that ran the model, and its Celsius at the end."""
        if self._on_die:
            found = temperatures.of_processor(self.after.get("temperature_c", {}), gpu=self.gpu is not None)
        else:
            celsius = self.after.get("gpu", {}).get("temperature_c")
            found = {} if celsius is None else {"gpu": celsius}
        return max(found.items(), key=lambda item: item[1], default=None)

    def flaws(self, hot_c: float) -> list[Flaw]:
        """Why the run does not count: it ended above `hot_c`, or something slowed it down."""
        place = self.temperature()
        hot = [Flaw("hot", place[0], place[1], hot_c)] if place is not None and place[1] > hot_c else []
        return hot + (self._die_throttled() if self._on_die else self._gpu_throttled())

    def warnings(self) -> list[Flaw]:
        """What to know of a run that counts: peaks of current, a power cap, clocks far below what they may be."""
        found = []
        if self._on_die:
            for name, count in self._over_current().items():
                if name not in over_current.DECIDES:
                    found.append(Flaw("over-current", over_current.EVENTS.get(name, name.upper()), count))
        elif self.after.get("gpu", {}).get("slowed", 0) & nvidia_smi.POWER_CAP:
            found.append(Flaw("power-cap", "GPU"))
        for what, numbers in (("GPU", self.after.get("gpu")), ("CPU", None if self.gpu else self.after.get("cpu"))):
            now, most = ((numbers or {}).get(key) for key in ("mhz", "max_mhz"))
            if now is not None and most is not None and now < SLOW * most:
                found.append(Flaw("slow-clock", what, now, most))
        return found

    def watched(self) -> list[str]:
        """What would have told of throttling; [] where nothing does, and it is unknown."""
        if not self._on_die:
            return ["nvidia-smi"] if "slowed" in self.after.get("gpu", {}) else []
        if "firmware" in self.after:
            source = self.after["firmware"]["source"]  # None: it throttles behind the kernel's back, and does not tell
            return [] if source is None else [source]
        sources = {
            "cooling devices": self._cooling(self.after),
            "over-current counters": self.after.get("over_current"),
            "throttle counters": self.gpu is None and self.after.get("throttle_counts"),
        }
        return [name for name, found in sources.items() if found]

    def conditions(self) -> dict[str, Any]:
        """What the figures depend on beside the board itself, for a verdict to name (JSON).

        power_mode; gpu_max_mhz: the clock that the GPU may reach; temperature_c: see `temperature`; watched: see there.
        None: not known.
        """
        place = self.temperature()
        most = self.after.get("gpu", {}).get("max_mhz")
        return {
            "power_mode": self.after.get("power_mode"),
            "gpu_max_mhz": None if most is None else round(most),
            "temperature_c": None if place is None else round(place[1], 1),
            "watched": self.watched(),
        }

    def _cooling(self, state: dict[str, Any]) -> dict[str, int]:
        return cooling.of_processor(state.get("cooling", {}), gpu=self.gpu is not None)

    def _over_current(self) -> dict[str, int]:
        return over_current.events_between(self.before.get("over_current", {}), self.after.get("over_current", {}))

    def _die_throttled(self) -> list[Flaw]:
        """What slowed the board's own processor down, each once."""
        found = []
        told = [state["firmware"]["bits"] for state in self._later if "firmware" in state]
        bits = [one for one in told if one is not None]
        found += [Flaw("throttled", what) for what in raspberry_pi.events(self._earlier_bits(bits), bits)]
        slowed: dict[str, None] = {}
        for state in (self.before, *self._later):
            slowed |= dict.fromkeys(name for name, level in sorted(self._cooling(state).items()) if level > 0)
        found += [Flaw("throttled", f"{name} is active") for name in slowed]
        for name, count in self._over_current().items():
            if name in over_current.DECIDES:
                found.append(Flaw("over-current", over_current.EVENTS[name], count))
        if self.gpu is None:
            before, after = (state.get("throttle_counts", {}) for state in (self.before, self.after))
            found += [
                Flaw("throttled", f"heat, as the {name} counts")
                for name in after
                if after[name] > before.get(name, after[name])
            ]
        return found

    def _earlier_bits(self, bits: Sequence[int]) -> int:
        """The firmware's bits before the run; where they were not read, those since boot count as set before."""
        earlier = self.before.get("firmware", {}).get("bits")
        if earlier is not None:
            return earlier
        return (bits[0] >> raspberry_pi.SINCE_BOOT << raspberry_pi.SINCE_BOOT) if bits else 0

    def _gpu_throttled(self) -> list[Flaw]:
        slowed = self.after.get("gpu", {}).get("slowed", 0)
        return [Flaw("throttled", f"GPU {what}") for bit, what in nvidia_smi.SLOWED.items() if slowed & bit]
