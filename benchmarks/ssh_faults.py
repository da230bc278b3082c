"""What goes wrong with a board by ssh, and the two lines that each gives: a table, from the tests that inject it.

    python benchmarks/ssh_faults.py [--only WORDS]

Runs tests/devices/test_ssh.py (a real sshd on this machine) and prints the errors that its tests recorded.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--only", default="", help="as pytest's -k")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-o", "junit_family=xunit1", f"--junitxml={report}"]
        command += ["-k", options.only] if options.only else []
        code = subprocess.run([*command, "tests/devices/test_ssh.py"], cwd=ROOT, stdout=sys.stderr).returncode
        rows = list(faults(report)) if report.is_file() else []
    print("| fault | what is wrong | what to do |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |")
    sys.exit(code)


def faults(report: Path) -> Iterator[tuple[str, str, str]]:
    """(the test's name in words, the two lines), an error a row."""
    for case in xml.parse(report).iter("testcase"):
        words = case.attrib["name"].removeprefix("test_").replace("_", " ")
        for found in case.iter("property"):
            if found.attrib["name"] == "two lines":
                wrong, todo = found.attrib["value"].split("\n")
                yield words, wrong, todo


if __name__ == "__main__":
    main()
