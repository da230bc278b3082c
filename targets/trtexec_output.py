"""What NVIDIA's trtexec prints, as data. Reads nothing, runs nothing (trtexec.py does).

The lines are those of samples/common/{logging.h,sampleReporting.cpp,sampleOptions.cpp} of NVIDIA/TensorRT, which have
not changed from 10.3 to 11.1; what the times hold has: from 11 on data transfers are left out and a CUDA graph is used
unless told otherwise, so both are read from the options that trtexec echoes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

_PREFIX = re.compile(r"(?:\[[^\]]*\] )?\[([VIWEF])\] ?")
_BANNER = re.compile(r"&&&& (RUNNING|PASSED|FAILED|SKIPPED|WAIVED) TensorRT\.trtexec \[TensorRT v(\d+)\]")
_NUMBER = r"[-+]?(?:\d+\.?\d*(?:[eE][-+]?\d+)?|inf|nan)"
_TIME = re.compile(rf"(min|max|mean|median|percentile\(([\d.]+)%\)) = ({_NUMBER}) ms")
_TIMES = {
    "Latency": "latency_ms",
    "GPU Compute Time": "gpu_ms",
    "Enqueue Time": "enqueue_ms",
    "H2D Latency": "to_device_ms",
    "D2H Latency": "to_host_ms",
}
_SWITCHES = {"Data transfers": "data_transfers", "CUDA Graph": "cuda_graph", "Spin-wait": "spin_wait"}


@dataclass(frozen=True)
class Times:
    """Milliseconds over all timed queries; percentiles by their number, as trtexec wrote it ("99", "99.9")."""

    min: float | None = None
    max: float | None = None
    mean: float | None = None
    median: float | None = None
    percentiles: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Summary:
    """One run. None is what was not printed, or is no finite number.

    passed: None where the last line is missing, as after a kill. version: TensorRT's, "10.3.0". queries: timed ones.
    latency_ms: copy in, compute and copy out, the copies zero without data transfers; it is not the time from request
    to reply, since trtexec enqueues a query ahead.
    """

    passed: bool | None = None
    version: str | None = None
    data_transfers: bool | None = None
    cuda_graph: bool | None = None
    spin_wait: bool | None = None
    queries: int | None = None
    queries_per_second: float | None = None
    latency_ms: Times | None = None
    gpu_ms: Times | None = None
    enqueue_ms: Times | None = None
    to_device_ms: Times | None = None
    to_host_ms: Times | None = None
    warnings: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()


def parse(text: str) -> Summary:
    """What `text` says; of what is there twice, the last. Never raises: what is not understood is left out."""
    found: dict[str, object] = {}
    warnings: list[str] = []
    errors: list[str] = []
    for line in text.splitlines():
        if banner := _BANNER.match(line):
            found["version"] = _version(banner.group(2))
            if banner.group(1) != "RUNNING":
                found["passed"] = banner.group(1) == "PASSED"
            continue
        prefix = _PREFIX.match(line)
        if prefix is None:
            continue
        level, words = prefix.group(1), line[prefix.end() :]
        if level == "W":
            _add(warnings, words)
        elif level in "EF":
            _add(errors, words)
        else:
            found.update(_facts(words))
    return Summary(**found, warnings=tuple(warnings), errors=tuple(errors))  # type: ignore[arg-type]


def _facts(words: str) -> Iterator[tuple[str, object]]:
    """What one line tells: names of Summary, with their values."""
    name, colon, value = words.partition(":")
    if colon and name in _SWITCHES:
        if value.strip() in ("Enabled", "Disabled"):
            yield _SWITCHES[name], value.strip() == "Enabled"
    elif colon and name in _TIMES:
        if times := _times(value):
            yield _TIMES[name], times
    elif colon and name == "Throughput":
        if rate := re.match(rf"\s*({_NUMBER}) qps", value):
            yield "queries_per_second", _finite(rate.group(1))
    elif trace := re.match(r"Timing trace has (\d{1,15}) queries over ", words):
        yield "queries", int(trace.group(1))


def _times(text: str) -> Times | None:
    """min, max, mean, median and percentiles of one line; None where it has none of them."""
    named: dict[str, float | None] = {}
    percentiles: dict[str, float] = {}
    for name, percent, number in _TIME.findall(text):
        value = _finite(number)
        if not percent:
            named[name] = value
        elif value is not None:
            percentiles[percent] = value
    return Times(**named, percentiles=percentiles) if named or percentiles else None


def _add(lines: list[str], words: str) -> None:
    """A line of a message; one that is indented goes on with the message before."""
    if words.startswith("  ") and lines:
        lines[-1] = f"{lines[-1]} {words.strip()}"
    elif words.strip():
        lines.append(words.strip().removeprefix("* "))


def _finite(number: str) -> float | None:
    value = float(number)
    return value if math.isfinite(value) else None


def _version(code: str) -> str:
    """10000 * major + 100 * minor + patch since TensorRT 10, 1000 * major + 100 * minor + patch before."""
    number = int(code[:9])
    thousands = 10_000 if number >= 100_000 else 1000
    return f"{number // thousands}.{number % thousands // 100}.{number % 100}"
