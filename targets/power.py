"""How much power a board draws, and how much energy a query takes, where the board has rails that tell.

A Jetson's INA3221 sensors: in{1,2,3}_input in mV times curr{1,2,3}_input in mA, each rail under its in{1,2,3}_label
(Linux, Documentation/hwmon/ina3221). One rail is the whole module's where the module has such a one (VDD_IN); on AGX
Orin it is the sum of three (NVIDIA, Jetson Linux Developer Guide, "Power monitor"; VDDQ_VDD2_1V8AO is fed by one of
these). The carrier board's own draw is in none of them.

AGX Thor's module has no such rail. What its carrier board takes in all is measured there by an INA238, power1_input in
microwatts (Linux, Documentation/hwmon/ina238), which has no label: called VIN here, and read on a Thor alone, as
elsewhere such a sensor may measure anything. The carrier's own draw is in it. A board with other rails has no total,
and so no energy.

A thread samples them ten times a second while queries run alone, after their latency was measured: reading a sensor
takes a moment of a processor, which would be in the latency.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep
from types import TracebackType
from typing import Any

from .system import ROOT, device_tree, text, whole_number

CARRIER = "VIN"
WHOLE = ("VDD_IN", "POM_5V_IN", CARRIER)
THOR = "tegra264"
IN_SUM = ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0")
EVERY_S = 0.1
IDLE_S = 2.0
BUSY_S = 5.0


def rails(root: Path = ROOT) -> dict[str, float]:
    """Watts of every rail by its label, a Thor's carrier board among them; {} where no sensor is known."""
    found: dict[str, float] = {}
    for folder in _sensors("ina3221", root):
        for channel in (1, 2, 3):
            label = text(folder / f"in{channel}_label")
            volts, amperes = (whole_number(folder / f"{kind}{channel}_input") for kind in ("in", "curr"))
            if label and label != "NC" and volts is not None and amperes is not None:
                found[label] = volts * amperes / 1e6
    if any(THOR in one for one in device_tree("compatible", root) or ()):
        told = [whole_number(folder / "power1_input") for folder in _sensors("ina238", root)]
        watts = [one / 1e6 for one in told if one is not None]
        if len(watts) == 1:  # of several nothing says which one it is
            found[CARRIER] = watts[0]
    return found


def _sensors(name: str, root: Path) -> list[Path]:
    """The folders of the sensors with this driver."""
    folders = [*root.glob(f"sys/bus/i2c/drivers/{name}/*/hwmon/hwmon*")]
    return sorted(folders or [one for one in root.glob("sys/class/hwmon/hwmon*") if text(one / "name") == name])


def counted(found: dict[str, float]) -> tuple[str, ...]:
    """The rails that make up the whole module's power, or on a Thor the carrier board's; () where that is not known."""
    for label in WHOLE:
        if label in found:
            return (label,)
    return IN_SUM if all(label in found for label in IN_SUM) else ()


class Meter:
    """The mean of the module's watts while the block runs, sampled by a thread."""

    def __init__(self, root: Path = ROOT, every_s: float = EVERY_S) -> None:
        self.rails = counted(rails(root))
        self._root, self._every_s = root, every_s
        self._watts: list[float] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    def __enter__(self) -> Meter:
        if self.rails:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self.rails:
            self._thread.join()

    def mean_w(self) -> float | None:
        """None where no rail tells, or none could be read in all that time."""
        return statistics.fmean(self._watts) if self._watts else None

    def _sample(self) -> None:
        while True:
            found = rails(self._root)
            if all(label in found for label in self.rails):
                self._watts.append(sum(found[label] for label in self.rails))
            if self._stop.wait(self._every_s):
                return


def idle_w(root: Path = ROOT, seconds: float = IDLE_S) -> float | None:
    """The module's watts while this process waits; None, at once, where no rail tells."""
    with Meter(root) as meter:
        if meter.rails:
            sleep(seconds)
    return meter.mean_w()


def energy(
    query: Callable[[], object], idle: float | None, root: Path = ROOT, seconds: float = BUSY_S
) -> dict[str, Any] | None:
    """What `query` takes when it runs again and again for `seconds`, as JSON; None where no rail tells.

    rails; idle_w: before, None: not known; busy_w: meanwhile; mj: millijoules a query; mj_above_idle: less what the
    board draws anyhow; queries, seconds.
    """
    if not counted(rails(root)):
        return None
    count, start = 0, perf_counter()
    with Meter(root) as meter:
        while count == 0 or perf_counter() - start < seconds:
            query()
            count += 1
        took = perf_counter() - start
    busy = meter.mean_w()
    if busy is None:
        return None
    above = None if idle is None else round(1e3 * (busy - idle) * took / count, 3)
    return {
        "rails": list(meter.rails),
        "idle_w": None if idle is None else round(idle, 3),
        "busy_w": round(busy, 3),
        "mj": round(1e3 * busy * took / count, 3),
        "mj_above_idle": above,
        "queries": count,
        "seconds": round(took, 2),
    }
