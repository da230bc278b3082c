"""What a bench found, as data: figures, and why a row does not count. Words are made from it last (words.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..records import plain
from ..targets.flaws import Flaw

SCHEMA = 1


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds a query, as targets/measure.py sums them up, p95 with its interval. rounds: the median of each of
    ten rounds; low, high: an interval for the median that rounds have (rounds.py)."""

    p50: float | None
    p95: float | None
    p99: float | None
    p95_low: float | None
    p95_high: float | None
    min: float
    max: float
    mean: float
    queries: int
    low: float
    high: float
    rounds: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """Milliseconds in a fresh process: from the file to a session, and the first query."""

    load: float
    first: float


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """Time an item over that of row number `to`, with the interval of ten rounds: below 1 is faster."""

    to: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """One case. inputs: name, dtype and shape of each array of a query. invalid: why its figures do not count, empty
    when they do. failed: what is wrong where it does not run; then there are no figures. accuracy: 0..1, as the
    bundle's verdict has it, None where it is not known. memory_mb: `peak` and `kind` (targets/memory.py).
    """

    model: str
    file: str
    runtime: dict[str, Any]
    batch: int | None = None
    inputs: tuple[dict[str, Any], ...] = ()
    latency_ms: Latency | None = None
    items_per_s: float | None = None
    ratio: Ratio | None = None
    cold_start_ms: ColdStart | None = None
    memory_mb: dict[str, Any] | None = None
    accuracy: float | None = None
    invalid: tuple[Flaw, ...] = ()
    machine_state: dict[str, Any] | None = None
    failed: str | None = None

    @property
    def counts(self) -> bool:
        return self.failed is None and not self.invalid


@dataclass(frozen=True, kw_only=True)
class Report:
    """All rows of a run. device: name, machine, system. other_cpus: processors that other programs kept busy while it
    was timed, in the mean; None where the system does not tell."""

    device: dict[str, str]
    mode: str
    rows: tuple[Row, ...]
    cpus: int
    other_cpus: float | None
    versions: dict[str, str]
    schema: int = SCHEMA

    @property
    def exit_code(self) -> int:
        """0 when every row counts, 4 when one does not."""
        return 0 if all(row.counts for row in self.rows) else 4

    def to_json(self) -> dict[str, Any]:
        return plain(self)
