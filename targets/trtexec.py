"""NVIDIA's trtexec, where TensorRT is installed without its Python module: builds an engine and times it.

It cannot take a check set through an engine in reasonable time, a process an image: so a model is built and timed with
it, and no result is made of that. What it prints is read by trtexec_output.py.
"""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .error_lines import last_line
from .errors import TargetError
from .lifeline import bound
from .onnx_file import require_onnx
from .session import INPUT, MAX_BATCH
from .trt_build import OUT_OF_MEMORY, cache_name, check_free, workspaces
from .trt_module import refuse_older
from .trt_sidecar import Options, this_place, why_stale, write_sidecar
from .trtexec_output import Summary, parse

log = logging.getLogger(__name__)

# Where the packages libnvinfer-bin and JetPack put it; neither is on the PATH.
PLACES = ("usr/src/tensorrt/bin/trtexec", "usr/local/tensorrt/bin/trtexec")


@dataclass(frozen=True)
class Run:
    """What is timed: an ONNX file with `size` pixels a side, its batch free or one; for so long, with a CUDA graph."""

    onnx: Path
    size: int
    free_batch: bool
    warmup_s: float
    seconds: float
    cuda_graph: bool


def find(root: Path = Path("/")) -> Path | None:
    """The tool: on the PATH, or where NVIDIA's packages put it; None where it is not."""
    if named := shutil.which("trtexec"):
        return Path(named)
    return next((root / place for place in PLACES if os.access(root / place, os.X_OK)), None)


def version_of(tool: Path) -> str:
    """TensorRT's version as its banner has it, "10.3.0". TargetError where the tool does not run."""
    done = _run([str(tool), "--help"])
    version = parse(done.stdout).version
    if version is None:
        last = last_line(done.stderr.strip() or done.stdout)
        raise TargetError(f"{tool} does not say its version: {last}", "Install TensorRT again (on a Jetson: JetPack).")
    return version


def build(tool: Path, run: Run, engine: Path, options: Options) -> Summary:
    """Build `engine` from the run's ONNX file with its sidecar, and time it; what trtexec said.

    Where memory runs out it is tried again with half the workspace, as in trt_build.py. TargetError with trtexec's own
    words.
    """
    require_onnx(run.onnx)
    version = version_of(tool)
    refuse_older(version)
    if options.dla_core is not None and _major(version) < 11:
        # It sets kFP16 and kPREFER_PRECISION_CONSTRAINTS for every DLA, which no strongly typed network may have
        # (sampleEngines.cpp; NVIDIA/TensorRT issue 4228).
        raise TargetError(
            f"trtexec of TensorRT {version} builds no strongly typed engine for DLA core {options.dla_core}",
            "Install TensorRT's Python module, or take engine.dla_core out of the profile: it then runs on the GPU.",
        )
    place = this_place("trtexec", version)
    part = engine.with_name(f".{engine.name}.{os.getpid()}.part")
    engine.parent.mkdir(parents=True, exist_ok=True)
    failure = None
    try:
        for workspace_mb in workspaces(options.workspace_mb):
            extra = [f"--onnx={run.onnx}", f"--saveEngine={part}"]
            extra += [f"--timingCacheFile={engine.with_name(cache_name(place))}"]
            extra += _build_arguments(run, version, workspace_mb, options.dla_core)
            done = _run([str(tool), *extra, *_time_arguments(run, version, options.dla_core)])
            said = parse(done.stdout)
            if done.returncode == 0 and said.passed and part.is_file():
                part.replace(engine)
                write_sidecar(engine, run.onnx, place, options, {"built_with_workspace_mb": workspace_mb})
                return said
            failure, memory = _failure(tool, run, done, said)
            if not memory:
                raise failure
            log.warning("%s (workspace: %s)", failure.wrong, "no limit" if workspace_mb is None else workspace_mb)
    finally:
        part.unlink(missing_ok=True)
    assert failure is not None
    raise failure


def compile(
    tool: Path, run: Run, engine: Path, options: Options, *, free_mb: int | None = None, again: bool = False
) -> Summary:
    """`build`, or only time an engine of trtexec's that is there and fits (unless `again`).

    free_mb: refuse to build with less available memory than this.
    """
    place = this_place("trtexec", version_of(tool))
    stale = "asked for" if again else why_stale(run.onnx, engine, place, options)
    if stale is None:
        return time(tool, run, engine, options)
    check_free(free_mb)
    log.warning("building %s with %s (%s); this can take minutes", engine, tool, stale)
    return build(tool, run, engine, options)


def time(tool: Path, run: Run, engine: Path, options: Options) -> Summary:
    """Time an engine that is there, and was built with these options. TargetError with trtexec's own words."""
    done = _run([str(tool), f"--loadEngine={engine}", *_time_arguments(run, version_of(tool), options.dla_core)])
    said = parse(done.stdout)
    if done.returncode != 0 or not said.passed:
        raise _failure(tool, run, done, said)[0]
    return said


def words(said: Summary) -> str:
    """The times in one line: of the model alone, and with the copies."""
    times = [
        f"{name} p50 {one.median:.3f} p99 {one.percentiles.get('99', float('nan')):.3f} ms"
        for name, one in (("GPU", said.gpu_ms), ("with copies", said.latency_ms if said.data_transfers else None))
        if one is not None and one.median is not None
    ]
    graph = "with a CUDA graph" if said.cuda_graph else "without a CUDA graph"
    return f"{', '.join(times)}, {graph}, {said.queries} queries"


def _build_arguments(run: Run, version: str, workspace_mb: int | None, dla_core: int | None) -> list[str]:
    """As trt_build.py builds: strongly typed (11 knows nothing else), without TF32."""
    found = ["--noTF32"] + ([] if _major(version) >= 11 else ["--stronglyTyped"])
    if workspace_mb is not None:
        found.append(f"--memPoolSize=workspace:{workspace_mb}")
    if run.free_batch:
        shape = f"{run.size}x{run.size}x3"
        for kind, count in (("min", 1), ("opt", 1), ("max", MAX_BATCH)):
            found.append(f"--{kind}Shapes={INPUT}:{count}x{shape}")
    if dla_core is not None:
        found.append("--allowGPUFallback")
    return found


def _time_arguments(run: Run, version: str, dla_core: int | None) -> list[str]:
    """How a query is timed, said in full, since the defaults changed in 11: with copies, without spinning. On the core
    that the engine is built for: one is not loaded without."""
    found = [f"--warmUp={round(run.warmup_s * 1000)}", f"--duration={max(1, round(run.seconds))}"]
    found.append("--percentile=50,95,99")
    if run.free_batch:
        found.append(f"--shapes={INPUT}:1x{run.size}x{run.size}x3")
    if dla_core is not None:
        found.append(f"--useDLACore={dla_core}")
    if _major(version) >= 11:
        found += ["--includeDataTransfers", "--noSpinWait"] + ([] if run.cuda_graph else ["--noCudaGraph"])
    elif run.cuda_graph:
        found.append("--useCudaGraph")
    return found


def _major(version: str) -> int:
    return int(version.split(".")[0])


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            bound(command), capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL, check=False
        )
    except OSError as error:
        raise TargetError(f"cannot run {command[0]}: {error.strerror}", "Install TensorRT again.") from error


def _failure(tool: Path, run: Run, done: subprocess.CompletedProcess[str], said: Summary) -> tuple[TargetError, bool]:
    """The error, and whether a build may succeed with less memory."""
    if done.returncode < 0:
        wrong = f"{tool} was ended by signal {-done.returncode} at {run.onnx}"
        return TargetError(wrong, "Memory may have run out: close other programs, then compile again."), True
    words = "; ".join(said.errors[:3]) or last_line(done.stderr, f"it ended with {done.returncode}")
    error = TargetError(
        f"trtexec (TensorRT {said.version}) cannot build or run {run.onnx}: {words}",
        "`python run.py doctor` says what this machine has; or measure with --runtime onnxruntime-cuda.",
    )
    return error, any(memory in " ".join(said.errors).lower() for memory in OUT_OF_MEMORY)
