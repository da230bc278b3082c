"""onnxruntime with inputs and outputs bound once over the plain session, and on a GPU with a CUDA graph over that.

    python benchmarks/io_binding.py [--runtime NAME] [--bundle DIR] [--rounds N] [--json rows.json]

Without --bundle it makes one with a small convolutional network of random weights at 160 px. Sessions take turns, one
image each; a ratio is taken round by round.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

from rows import Row, interleave, report, row
from runtime_overhead import SIZE, network

from edgedistill.targets import ort, providers, result
from edgedistill.targets.manifest import Manifest, read_manifest
from edgedistill.targets.names import CPU, on_gpu
from edgedistill.targets.providers import Settings

from bundles import write_bundle  # isort: skip  # of the tests, where runtime_overhead looks


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--runtime", default=CPU, choices=list(providers.PROVIDERS))
    parser.add_argument("--bundle", type=Path, help="a bundle (default: a small one, made here)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1500, help="of one call each")
    parser.add_argument("--json", type=Path, help="write the rows there")
    options = parser.parse_args()
    providers.turn_tf32_off()
    with tempfile.TemporaryDirectory() as folder:
        bundle = options.bundle or write_bundle(Path(folder) / "bundle", models={"fp32": network(SIZE)})
        rows = compared(read_manifest(bundle), options.runtime, options.threads, options.rounds)
    report(rows, options.json)


def compared(manifest: Manifest, runtime: str, threads: int, rounds: int) -> list[Row]:
    """The fp32 model in each way, and the ratios."""
    plain = Settings.of_profile(manifest.profile)
    ways = {"plain": replace(plain, io_binding=False), "bound": replace(plain, io_binding=True, cuda_graph=False)}
    if on_gpu(runtime):
        ways["CUDA graph"] = replace(plain, io_binding=True, cuda_graph=True)
    model = manifest.file(manifest.model("fp32")["file"])
    image = result.load_check_images(manifest)[:1]
    sessions = {name: ort.Session(model, threads=threads, provider=runtime, settings=own) for name, own in ways.items()}
    for session in sessions.values():
        session.warm_up(0.5)
    times = interleave({name: partial(session.run, image) for name, session in sessions.items()}, rounds=rounds)
    rows = [row(f"{runtime}, plain", times["plain"] * 1e3, "ms")]
    others = [name for name in ways if name != "plain"]
    return rows + [row(f"{runtime}, {name} / plain", times[name] / times["plain"], "ratio") for name in others]


if __name__ == "__main__":
    main()
