"""What measuring over ssh adds to measuring here: seconds of `--device ssh://` on the loopback interface.

    python benchmarks/ssh_overhead.py [--rounds 5] [--images 200] [--json rows.json]

The board is a real sshd on this machine. "first": nothing of the bundle is there yet; "again": all of it is. Each round
takes local, first and again in turn, and its difference is a sample.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter

from rows import Row, report, row

from edgedistill.devices.local import Local
from edgedistill.devices.measurement import Measurement
from edgedistill.devices.ssh import Ssh
from edgedistill.profiles import load_profile
from edgedistill.targets.manifest import Manifest, read_manifest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from bundles import colour_model, write_bundle
from loopback import Board, why_not

SIZE = 160


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=200, help="check images of the bundle, 77 kB each")
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args()
    if reason := why_not():
        sys.exit(reason)
    with tempfile.TemporaryDirectory() as folder:
        bundle = short_bundle(Path(folder) / "bundle", options.images)
        size_mb = sum(path.stat().st_size for path in bundle.path.rglob("*") if path.is_file()) / 1e6
        with Board(Path(folder) / "board") as board:
            os.environ["PATH"] = board.environment["PATH"]
            rows = overhead(bundle, board, options.rounds)
    print(f"a bundle of {size_mb:.1f} MB")
    report(rows, options.json)


def overhead(bundle: Manifest, board: Board, rounds: int) -> list[Row]:
    """Seconds beyond a local measurement of the same round, and that for scale."""
    here: list[float] = []
    first: list[float] = []
    again: list[float] = []
    for _ in range(rounds):
        here.append(seconds(Local(), bundle))
        shutil.rmtree(board.home / "edgedistill", ignore_errors=True)
        first.append(seconds(Ssh.at(board.url), bundle) - here[-1])
        again.append(seconds(Ssh.at(board.url), bundle) - here[-1])
    return [
        row("measured here", here, "s"),
        row("over ssh, first, beyond that", first, "s"),
        row("over ssh, again, beyond that", again, "s"),
    ]


def seconds(device: Local | Ssh, bundle: Manifest) -> float:
    began = perf_counter()
    with device.measure(bundle, Measurement(threads=1)):
        pass
    return perf_counter() - began


def short_bundle(folder: Path, images: int) -> Manifest:
    """A bundle whose measurement is short, so that the rest can be seen."""
    profile = load_profile("cpu")
    short = replace(profile, measure=replace(profile.measure, warmup_s=0.0, min_s=0.1, min_queries=20, hot_c=200))
    models = {"fp32": colour_model(size=SIZE)}
    return read_manifest(write_bundle(folder, profile=short.to_json(), models=models, images=images))


if __name__ == "__main__":
    main()
