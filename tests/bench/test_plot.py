"""A picture of every row that ran: bars, or accuracy over latency where all accuracies are known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bench_reports import failed, report, row

from edgedistill.bench import plot
from edgedistill.errors import InputError
from edgedistill.targets.flaws import Flaw


def svg_of(path: Path, *rows: object) -> str:
    pytest.importorskip("matplotlib")
    import matplotlib

    with matplotlib.rc_context({"svg.fonttype": "none"}):  # words stay words
        plot.write(report(*rows), path)  # type: ignore[arg-type]
    return path.read_text()


def test_bars_name_every_row_that_ran_and_its_latency(tmp_path: Path) -> None:
    rows = (row("a"), row("b", 2.0, batch=8, accuracy=0.9), failed("c", "no"))
    said = svg_of(tmp_path / "x.svg", *rows)
    assert "a, batch 1" in said
    assert "b, batch 8" in said
    assert "2.090" in said
    assert "c, batch" not in said
    assert "accuracy" not in said


def test_accuracy_over_latency_where_every_accuracy_is_known(tmp_path: Path) -> None:
    said = svg_of(tmp_path / "x.svg", row("a", accuracy=0.8), row("b", 2.0, accuracy=0.9))
    assert "accuracy on the check images" in said
    assert "paler" not in said
    paler = svg_of(tmp_path / "x.svg", row("a", accuracy=0.8, invalid=(Flaw("throttled", "x"),)))
    assert "paler: does not count" in paler


def test_a_png_is_a_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot.write(report(row("a")), tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")


def test_another_format_is_refused() -> None:
    with pytest.raises(InputError, match=r"cannot write x\.pdf") as caught:
        plot.check(Path("x.pdf"))
    assert ".png or .svg" in caught.value.todo


def test_without_matplotlib_it_says_so_in_two_lines() -> None:
    program = "import sys; sys.modules['matplotlib'] = None\nfrom pathlib import Path\n"
    program += "from edgedistill.bench import plot\nfrom edgedistill.errors import InputError\n"
    program += "try:\n    plot.check(Path('x.png'))\nexcept InputError as error:\n    print(error)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0].startswith("--plot needs matplotlib")
    assert done.stdout.splitlines()[1] == "pip install matplotlib"
