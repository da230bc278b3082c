"""A wait between two runs, where the first did not count for heat: measured at once, a hot board only gets hotter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Any

from . import cooling, state, temperatures
from .flaws import Flaw
from .printable import say

BELOW_C = 5.0  # the limit less this is cool enough
MOST_S = 120.0
EVERY_S = 2.0


def wait(
    flaws: Sequence[Flaw],
    hot_c: float,
    read: Callable[[], dict[str, Any]] = state.read_throttling,
    most_s: float = MOST_S,
) -> None:
    """Until no zone of the board's processors is above `hot_c` − 5 and none of them is slowed down because of heat; two
    minutes at most, told on stderr. Returns at once where none of the `flaws` was heat, or nothing here tells.

    A graphics card cools by its own fans, which it does not say here: it is not waited for.
    """
    if not any(flaw.code in ("hot", "throttled") for flaw in flaws) or _cool(read(), hot_c):
        return
    say(f"waiting for the board to cool below {hot_c - BELOW_C:.0f} C, {most_s:.0f} s at most", error=True)
    began = monotonic()
    while monotonic() - began < most_s and not _cool(read(), hot_c):
        sleep(EVERY_S)


def _cool(now: dict[str, Any], hot_c: float) -> bool:
    zones, devices = now.get("temperature_c", {}), now.get("cooling", {})
    hottest = [max(temperatures.of_processor(zones, gpu=gpu).values(), default=0.0) for gpu in (False, True)]
    slowed = [level for gpu in (False, True) for level in cooling.of_processor(devices, gpu=gpu).values()]
    return max(hottest) <= hot_c - BELOW_C and not any(slowed)
