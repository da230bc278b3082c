"""`make demo`, once a seed, and what it came to: verdicts as rows, and how long each took.

    python benchmarks/demo.py --seeds 0 1 2 --json benchmarks/results/demo.json

A bundle that is there is not built again (delete it after a change); its time is the time of the run that built it,
environment already made, and is missing if that run was cut short. Nothing else is measured here: figures come from
the bundle's verdict.json, the machine from the result behind that, and the seconds of training from the metrics of its
student in the work folder (without them that row is missing). They are named as real_photos.py names them. `low` and
`high` are the verdict's 95 % intervals; a figure without one has both equal to the value. Every row also says its seed
and its verdict.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import rows

from edgedistill.work.atomic import sha256_file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--demo", type=Path, default=Path(".edgedistill/demo"), help="as `make demo DEMO=` takes it")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    for seed in options.seeds:
        bundle = options.demo / f"bundle-{seed}"
        seconds = run(bundle, seed)
        found += bundle_rows(bundle, options.demo / "work", seconds)
    for line in found:
        spread = f"{line['low']:.4g} .. {line['high']:.4g}" if line["low"] != line["high"] else ""
        print(f"{line['figure']:<32} {line['value']:>10.4g}  {spread:<20} {line['unit']}".rstrip())
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def run(bundle: Path, seed: int) -> float | None:
    """Seconds that `make demo` took to build `bundle`, now or before; None if it was cut short once."""
    clock = bundle.with_name(f"{bundle.name}.seconds")  # empty from the start of a run on, until it ends
    if not (bundle / "verdict.json").exists():
        first = not clock.exists()
        clock.parent.mkdir(parents=True, exist_ok=True)
        clock.touch()
        subprocess.run(["make", ".venv/installed"], check=True)
        began = time.monotonic()
        subprocess.run(["make", "demo", f"SEED={seed}", f"DEMO={bundle.parent}"], check=True)
        if first:
            clock.write_text(f"{time.monotonic() - began:.1f}")
    seconds = clock.read_text() if clock.exists() else ""
    return float(seconds) if seconds else None


def bundle_rows(bundle: Path, work: Path, seconds: float | None = None) -> list[dict[str, Any]]:
    """The rows of one measured and labelled bundle, as `rows.report` writes them, with `seed` and `verdict`."""
    verdict, manifest = (read(bundle / name) for name in ("verdict.json", "manifest.json"))
    accuracy, agreement, start = verdict["accuracy"], verdict["agreement"], verdict["start"]
    latency, memory, budget = verdict["latency_ms"], verdict["memory_mb"], verdict["budget"]
    if None in (accuracy, agreement, start, latency, memory):
        sys.exit(f"{bundle}: not measured, not labelled, or without a start: no bundle of `make demo`")
    metrics = training_metrics(work, manifest["files"]["student.safetensors"])
    seed = bundle.name.rpartition("-")[2]
    lines = [
        single("teacher", accuracy["teacher"], "top-1"),
        single("start", start["accuracy"], "top-1"),
        single("student", accuracy["student"], "top-1"),
        rows.Row(
            figure="difference",
            value=100 * (accuracy["student"] - accuracy["teacher"]),
            low=100 * accuracy["low"],
            high=100 * accuracy["high"],
            unit="points",
        ),
        single("start-agreement", start["agreement"], "share"),
        rows.Row(figure="student-agreement", unit="share", **{k: agreement[k] for k in ("value", "low", "high")}),
        single("check", accuracy["images"], "pictures"),
        single("latency p50", latency["p50"], "ms"),
        single("latency p95", latency["p95"], "ms", f"<= {budget['latency_p95_ms']:g}"),
        single("latency p99", latency["p99"], "ms"),
        single("memory", memory["peak"], "MB", f"<= {budget['memory_mb']:g}"),
        single("model", verdict["model"]["bytes"] / 1e6, "MB"),
    ]
    if metrics:
        lines.append(single("training", sum(epoch["seconds"] for epoch in metrics[1:]), "s"))
    if seconds is not None:
        lines.append(single("build", seconds, "s", "<= 600"))
    facts = {"machine": measured_on(bundle, verdict), "command": f"make demo SEED={seed}"}
    said = {"seed": seed, "verdict": verdict["verdict"]}
    named = [{**asdict(line), "figure": f"seed {seed}/{line.figure}", "met": line.met} for line in lines]
    return [{**line, **facts, **said} for line in named]


def single(figure: str, value: float, unit: str, bar: str = "") -> rows.Row:
    """A figure without an interval."""
    return rows.Row(figure=figure, value=value, low=value, high=value, unit=unit, bar=bar)


def training_metrics(work: Path, student_sha256: str) -> list[dict[str, Any]]:
    """metrics.jsonl of the training whose student this is: settings first, then a line an epoch. [] if it is gone."""
    for student in sorted(work.glob("distil-*/student.safetensors")):
        if sha256_file(student) == student_sha256:
            return [json.loads(line) for line in student.with_name("metrics.jsonl").read_text("utf-8").splitlines()]
    return []


def measured_on(bundle: Path, verdict: dict[str, Any]) -> str:
    """The machine of the result that the verdict's latency comes from, in a few words."""
    for path in sorted((bundle / "results").glob("*.json")):
        result = read(path)
        if "failed" not in result and all(
            result["latency_ms"][name] == verdict["latency_ms"][name] for name in ("p50", "p95", "p99", "queries")
        ):
            device, threads = result["device"], result["runtime"]["threads"]
            memory_mb = device["evidence"].get("memory_total_mb")
            words = [device["name"], "1 thread" if threads == 1 else f"{threads} threads"]
            words += [f"{memory_mb / 1024:.0f} GB"] if memory_mb else []
            return ", ".join(words)
    sys.exit(f"{bundle}/results: the result behind verdict.json is not there")


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
