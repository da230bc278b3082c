"""Draw what closes a build, as the product prints it, into an SVG: the picture in the README.

    python tools/terminal_picture.py .edgedistill/demo/bundle-0 --command "make demo" --out docs/demo.svg

Reads the bundle's verdict.json, so the picture cannot show a figure that was not measured.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from rich.console import Console

from edgedistill.verdict.tables import draw
from edgedistill.verdict.verdict import read_verdict


def picture(bundle: Path, command: str, shown_as: Path) -> str:
    """The SVG of `command` and the closing lines of its build; `shown_as` stands where the bundle's folder does."""
    verdict = read_verdict(bundle)
    console = Console(record=True, width=92, file=io.StringIO(), force_terminal=True, highlight=False)
    console.print(f"[bold]$ {command}[/]")
    draw(verdict, shown_as, console)
    return console.export_svg(title=f"edgedistill: {verdict.profile}", unique_id="edgedistill")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--command", default="make demo")
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    chosen.out.write_text(picture(chosen.bundle, chosen.command, chosen.bundle), encoding="utf-8")


if __name__ == "__main__":
    main()
