"""What goes wrong with a board by ssh, and the two lines that each gives: a table, from the tests that inject it.

    python benchmarks/ssh_faults.py [--only WORDS | --json benchmarks/results/ssh_faults.json]

Runs tests/devices/test_ssh.py (a real sshd on this machine: openssh-server) and prints the errors that its tests
recorded. Exits with 1 where one of them fails, and where none was recorded.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rows import command, keep, machine

ROOT = Path(__file__).resolve().parents[1]
NOTHING = "no fault was recorded: is there an sshd? (Debian: apt-get install openssh-server)"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--only", default="", help="as pytest's -k")
    which.add_argument("--json", type=Path, help="put the rows there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        words = [sys.executable, "-m", "pytest", "-q", "-o", "junit_family=xunit1", f"--junitxml={report}"]
        words += ["-k", options.only] if options.only else []
        code = subprocess.run([*words, "tests/devices/test_ssh.py"], cwd=ROOT, stdout=sys.stderr).returncode
        rows = list(faults(report)) if report.is_file() else []
    found = [row for number, row in enumerate(rows) if row not in rows[:number]]
    if not any(not row["skipped"] for row in found):
        sys.exit(NOTHING)
    print("| fault | what is wrong | what to do |\n|---|---|---|")
    for row in found:
        print(line(row))
    if options.json is not None and code == 0:
        origin = {"machine": machine(), "command": command()}
        keep([row | origin for row in found], options.json, lambda row: "all", ["all"])
    sys.exit(1 if code else 0)


def faults(report: Path) -> Iterator[dict[str, Any]]:
    """{fault: the test's name in words, wrong, todo: the two lines, skipped: why it was not run, or ""}: an error a
    row, and one for each test that would have recorded some and was skipped."""
    for case in xml.parse(report).iter("testcase"):
        words = case.attrib["name"].removeprefix("test_").replace("_", " ")
        row = {"fault": words.replace("[", ", ").rstrip("]")}
        for found in case.iter("property"):
            if found.attrib["name"] == "two lines":
                wrong, todo = found.attrib["value"].split("\n")
                yield {**row, "wrong": wrong, "todo": todo, "skipped": ""}
        for why in case.iter("skipped"):
            yield {**row, "wrong": "", "todo": "", "skipped": why.attrib["message"]}


def line(row: dict[str, Any]) -> str:
    """A line of the table."""
    cells = [row["fault"], f"not run: {row['skipped']}" if row["skipped"] else row["wrong"], row["todo"]]
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


if __name__ == "__main__":
    main()
