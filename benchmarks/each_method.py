"""One command a method on the example: every one of them builds, exports, is measured and judged.

    python benchmarks/each_method.py --json benchmarks/results/each_method.json

From the repository root. The builds are short, so that all of them take minutes: what they show is that each method
goes the whole way, not which is best (that is study.py). Rows, NAME being the method:

    NAME accuracy      top-1 of the student on examples/parts/check, the verdict's interval around the difference
    NAME agreement     with the teacher, the verdict's own interval
    NAME passed        1 where the verdict is pass
    NAME seconds       of the build, the first one with the teacher's pass in it
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import rows

from edgedistill.distil.methods import METHODS

EXTRA = {"eikd": ["--select", "0.8"]}
"""What a method is meant to be used with."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--input-size", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--work", type=Path, default=Path(".edgedistill/each_method"))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = [row for name in options.methods for row in built(name, options)]
    rows.report(found, options.json)


def command(name: str, options: argparse.Namespace) -> list[str]:
    """The build of one method, as a user would write it."""
    words: list[object] = ["build", "--profile", "cpu", "--classes", "examples/parts/labels.txt"]
    words += ["--images", "examples/parts/pool", "--check", "examples/parts/check"]
    words += ["--teacher", "local-dir:examples/teacher", "--student-weights", "examples/start"]
    words += ["--input-size", options.input_size, "--epochs", options.epochs, "--method", name, *EXTRA.get(name, [])]
    words += ["--work", options.work / "work", "--out", options.work / name]
    return [str(word) for word in words]


def built(name: str, options: argparse.Namespace) -> list[rows.Row]:
    """The figures of one method's build. Ends the script where a build stops for another reason than its verdict."""
    began = time.monotonic()
    code = subprocess.run([sys.executable, "-m", "edgedistill", *command(name, options)]).returncode
    if code not in (0, 3):
        raise SystemExit(code)
    seconds = time.monotonic() - began
    verdict = json.loads((options.work / name / "verdict.json").read_text(encoding="utf-8"))
    accuracy, agreement = verdict["accuracy"], verdict["agreement"]
    student, teacher = accuracy["student"], accuracy["teacher"]
    passed = float(verdict["verdict"] == "pass")
    return [
        rows.Row(
            figure=f"{name} accuracy",
            value=student,
            low=teacher + accuracy["low"],
            high=teacher + accuracy["high"],
            unit="top-1",
        ),
        rows.Row(
            figure=f"{name} agreement",
            value=agreement["value"],
            low=agreement["low"],
            high=agreement["high"],
            unit="share",
        ),
        rows.Row(figure=f"{name} passed", value=passed, low=passed, high=passed, unit="of 1"),
        rows.Row(figure=f"{name} seconds", value=seconds, low=seconds, high=seconds, unit="s"),
    ]


if __name__ == "__main__":
    main()
