"""From where to where the numbers of a profile go: once, for its loader (profiles/) and for the device that reads it.

The device reads a profile as a bundle carries it, which may have been written by hand since.
"""

from __future__ import annotations

from typing import NamedTuple

MOST = 1e9  # no time, size or temperature here comes near


class Range(NamedTuple):
    """Both ends belong to it, `low` only where `above` does not say otherwise. `whole`: whole numbers alone."""

    low: float
    high: float
    whole: bool = False
    above: bool = False

    def holds(self, number: float) -> bool:
        return self.low <= number <= self.high and not (self.above and number == self.low)

    @property
    def words(self) -> str:
        """As in "from 0 to 1"."""
        return f"above {self.low:g}, at most {self.high:g}" if self.above else f"from {self.low:g} to {self.high:g}"


POSITIVE = Range(0, MOST, above=True)
WHOLE = Range(0, MOST, whole=True, above=True)

BUDGET = {
    "latency_p95_ms": POSITIVE,
    "memory_mb": POSITIVE,
    "agreement_min": Range(0, 1),
    "accuracy_drop_max": Range(0, 1),
}
PROFILE = {
    "runtime.threads": Range(0, 1024, whole=True),
    "model.input_size": Range(16, 4096, whole=True),
    "model.opset": Range(18, 20, whole=True),  # the graph needs 18; TensorRT 10.3 reads up to 20
    **{f"budget.{name}": range for name, range in BUDGET.items()},
    "measure.warmup_s": Range(0, MOST),
    "measure.min_s": POSITIVE,
    "measure.min_queries": WHOLE,
    "measure.hot_c": POSITIVE,
}
OPTIONAL = {  # null: no limit
    "identify.min_memory_mb": Range(0, MOST, whole=True),
    "engine.workspace_mb": WHOLE,
    "engine.free_mb": WHOLE,
    "engine.dla_core": Range(0, 1, whole=True),  # no board has more than two
}
