"""Reports in miniature, as data: what tables and pictures are made from."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgedistill.bench.report import ColdStart, Report, Row
from edgedistill.bench.rounds import compared, latency_of


def row(model: str, ms: float = 1.0, *, batch: int = 1, threads: int | None = 1, **changes: Any) -> Row:
    """A row whose queries take `ms`, a hundredth more in each further round of ten."""
    turns = [np.full(50, ms * (1 + turn / 100) * 1e6).astype(np.int64) for turn in range(10)]
    facts: dict[str, Any] = {
        "model": model,
        "file": f"{model}.onnx",
        "runtime": {
            "name": "onnxruntime-cpu",
            "version": "1.32.0",
            "provider": "CPUExecutionProvider",
            "threads": threads,
        },
        "batch": batch,
        "inputs": ({"name": "x", "dtype": "float32", "shape": [batch, 3]},),
        "latency_ms": latency_of(turns),
        "items_per_s": batch / ms * 1e3,
        "cold_start_ms": ColdStart(load=12.5, first=3.25),
        "memory_mb": {"peak": 31.4, "kind": "rss_growth"},
        "machine_state": {"before": {}, "after": {"load_average": [0.5, 0.4, 0.3]}},
    }
    return Row(**{**facts, **changes})


def failed(model: str, why: str) -> Row:
    runtime = {"name": "onnxruntime-cpu", "threads": 1}
    return Row(model=model, file=f"{model}.onnx", runtime=runtime, failed=why)


def report(*rows: Row, other_cpus: float | None = 0.05) -> Report:
    return Report(
        device={"name": "Test Board", "machine": "x86_64", "system": "Linux 6"},
        mode="quick",
        rows=compared(rows),
        cpus=4,
        other_cpus=other_cpus,
        versions={"python": "3.11"},
    )
