"""`run.py memory`: what serving takes, told to the `verify` that started this process."""

from __future__ import annotations

import argparse
from time import perf_counter

from . import measure, memory, result, runtimes
from .manifest import read_manifest
from .names import on_gpu
from .printable import say_json
from .run_options import bundle_of, loop_for

MEMORY_S = 2.0  # of queries in the fresh process whose memory is read


def memory_of_serving(options: argparse.Namespace) -> int:
    """How much memory serving takes, and how long its start, as JSON; `verify` starts this in a fresh process, and it
    is not listed."""
    manifest = read_manifest(bundle_of(options), check_hashes=False)
    images = result.load_check_images(manifest)
    runtime = options.runtime
    if error := runtimes.problem(runtime):  # imports the runtime: that belongs to the process, not to serving
        raise error

    cold: dict[str, float] = {}

    def serve() -> None:
        start = perf_counter()
        session = runtimes.open_session(manifest, options.model, runtime, options.threads)
        loaded = perf_counter()
        session.run(images[:1])
        cold.update(load=round((loaded - start) * 1e3, 3), first=round((perf_counter() - loaded) * 1e3, 3))
        measure.serve(session, images, min(MEMORY_S, loop_for(manifest, options).min_s))

    say_json({"memory_mb": memory.taken_by(serve, on_gpu=on_gpu(runtime)), "cold_start_ms": cold})
    return 0
