"""How much of this machine's processors others took meanwhile, and whether a run beside them counts.

Three things tell, each of the processors that this process may use:

    others  how many processors other programs kept busy: /proc/stat, less what this process took itself
    stolen  the share of the processors' time that other guests of a shared host took: the "steal" of /proc/stat
    waited  the share of the time in which our threads could have run and had no processor: the second number of
            /proc/self/task/*/schedstat, waiting on a run queue (Linux, Documentation/scheduler/sched-stats)

A load average would be a minute late, and hold our own work. What lasts for a moment only is seen in the latencies
themselves (steadiness.py).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

from .cores import usable_cores
from .flaws import Flaw
from .system import ROOT, text

_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
# Of the columns after the name: user nice system IDLE IOWAIT irq softirq STEAL; what follows is counted in these.
_IDLE, _STEAL = (3, 4), 7
MOST_OTHERS = 0.1  # of the processors
MOST_STOLEN = 0.02
MOST_WAITED = 0.05


@dataclass(frozen=True)
class CpuTime:
    """Seconds since some moment: `busy` of the processors, of them `own` this process's and `stolen` by other guests,
    those that our threads `waited` for one (None where the system does not tell), and on the clock."""

    busy: float
    own: float
    clock: float
    stolen: float = 0.0
    waited: float | None = None


@dataclass(frozen=True)
class Load:
    """See above. None: not known."""

    others: float
    stolen: float
    waited: float | None

    def flaws(self, room: float) -> list[Flaw]:
        """Why a run beside it does not count. room: processors that others may keep busy."""
        found = []
        if self.others > room:
            found.append(Flaw("busy", value=round(self.others, 2), limit=round(room, 2)))
        if self.stolen > MOST_STOLEN:
            found.append(Flaw("stolen", value=round(self.stolen, 4), limit=MOST_STOLEN))
        if self.waited is not None and self.waited > MOST_WAITED:
            found.append(Flaw("waited", value=round(self.waited, 4), limit=MOST_WAITED))
        return found

    def to_json(self) -> dict[str, Any]:
        waited = None if self.waited is None else round(self.waited, 4)
        return {"others": round(self.others, 3), "stolen": round(self.stolen, 4), "waited": waited}


def read_cpu_time(root: Path = ROOT) -> CpuTime | None:
    """The seconds so far; None on a system that does not tell."""
    lines = [line.split() for line in text(root / "proc/stat").splitlines()]
    usable = {f"cpu{number}" for number in usable_cores()}
    counts = [[int(count) for count in words[1:9]] for words in lines if words and words[0] in usable]
    if not counts:
        return None
    busy = sum(count for row in counts for column, count in enumerate(row) if column not in _IDLE)
    stolen = sum(row[_STEAL] for row in counts if len(row) > _STEAL)
    own = sum(os.times()[:4])  # with the tools that were asked for the machine's state
    return CpuTime(busy / _TICKS, own, monotonic(), stolen / _TICKS, _waited_s(root))


def _waited_s(root: Path) -> float | None:
    """Seconds that this process's threads waited for a processor, all together, of those that still run."""
    found = [text(path).split() for path in root.glob("proc/self/task/*/schedstat")]
    told = [int(words[1]) for words in found if len(words) == 3 and words[1].isdecimal()]
    return sum(told) / 1e9 if told else None


def load_between(before: CpuTime | None, after: CpuTime | None, cpus: int) -> Load | None:
    """What others did in between on so many processors; None where that is not known."""
    if before is None or after is None:
        return None
    seconds, own = max(after.clock - before.clock, 1e-9), after.own - before.own
    waited = None
    if before.waited is not None and after.waited is not None:
        queued = max(0.0, after.waited - before.waited)
        # Of a thread that sleeps while a GPU works every waking is a short wait: they are held against the whole time.
        waited = queued / max(queued + own, seconds)
    return Load(
        others=max(0.0, (after.busy - before.busy - own) / seconds),
        stolen=max(0.0, (after.stolen - before.stolen) / seconds / cpus),
        waited=waited,
    )


def room_on(cpus: int) -> float:
    """How many of so many processors others may keep busy beside a measurement that decides: a tenth of them."""
    return MOST_OTHERS * cpus


def room_for_others(threads: int, cpus: int) -> float:
    """How many they may keep busy beside a row of `bench` with so many threads: those left, too."""
    return max(0, cpus - threads) + room_on(cpus)
