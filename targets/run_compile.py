"""`run.py compile`: TensorRT engines for this very machine."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import runtimes, torch_trt, trtexec
from .errors import TargetError
from .manifest import Manifest, read_manifest
from .names import TENSORRT, TORCH_TENSORRT
from .printable import say
from .run_options import bundle_of, loop_for


def compile_engines(options: argparse.Namespace) -> int:
    """Build the engine of every model, or of --model, unless one is there that fits this machine."""
    manifest = read_manifest(bundle_of(options))
    profile = manifest.profile
    builders = [name for name in (TENSORRT, TORCH_TENSORRT) if name in profile["runtime"]["prefer"]]
    problem = runtimes.problem(TENSORRT)
    if not builders and problem is None:
        builders = [TENSORRT]
    if not builders:
        raise TargetError(
            f"there is nothing to compile: {profile['name']} runs on {profile['runtime']['prefer'][0]}",
            "Go on with: python run.py verify",
        )
    if TENSORRT in builders:
        tool = None if problem is None else trtexec.find()
        for precision in [options.model] if options.model else runtimes.precisions(manifest):
            if tool is None:
                say(runtimes.engine_of(manifest, precision, again=options.again))
            else:
                say(_built_by_tool(tool, manifest, precision, options))
        if tool is not None:
            say(f"built and timed by {tool}; {problem.todo if problem else ''}")
    if TORCH_TENSORRT in builders:
        for precision in [options.model] if options.model else torch_trt.PRECISIONS:
            say(torch_trt.program_of(manifest, precision, again=options.again))
    return 0


def _built_by_tool(tool: Path, manifest: Manifest, precision: str, options: argparse.Namespace) -> str:
    """Where only trtexec is there: an engine built by it, and its times in a line."""
    loop = loop_for(manifest, options)
    run = trtexec.Run(
        onnx=manifest.file(manifest.model(precision)["file"]),
        size=manifest.size,
        free_batch=manifest.data["batch"]["max"] > 1,
        warmup_s=loop.warmup_s,
        seconds=loop.min_s,
        cuda_graph=bool(manifest.profile["runtime"].get("cuda_graph")),
    )
    engine = runtimes.engine_path(manifest, precision)
    limit = runtimes.free_mb(manifest)
    said = trtexec.compile(tool, run, engine, runtimes.engine_options(manifest), free_mb=limit, again=options.again)
    return f"{engine}  {trtexec.words(said)}"
