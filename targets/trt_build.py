"""A TensorRT engine, built from an ONNX file on the board it will run on. From TensorRT 10.3 on; 11 needs no change.

Precision lives in the ONNX file (fp16 or Q/DQ), so the network is built strongly typed and no precision flag or
calibrator is used: those are deprecated in 10.12 and gone in 11. Enum members are named, never numbered, because the
numbers moved between versions.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

from .atomic import write_bytes
from .errors import TargetError
from .machine import memory_available_mb
from .nvpmodel import power_mode
from .onnx_file import MOST_BYTES, require_onnx
from .outside import Unfit, read_bytes
from .session import MAX_BATCH
from .trt_module import new_builder, new_logger, one_line
from .trt_sidecar import Options, Place, place_of, write_sidecar

log = logging.getLogger(__name__)

LEAST_WORKSPACE_MB = 16
MOST_TIMINGS = 256 << 20  # bytes of a timing cache
# Words of TensorRT and CUDA for memory that ran out. Not "insufficient workspace": that asks for more, not for less.
OUT_OF_MEMORY = ("out of memory", "outofmemory", "could not be allocated", "memory allocation", "bad_alloc")
# Words of the parser for what onnxruntime's quantiser writes for a CPU: uint8 activations, int32 biases.
_OTHER_INT8 = ("zero point", "type int32")


@dataclass(frozen=True)
class Plan:
    """A serialised engine and how it came about. workspace_mb: the limit it was built under; cache: the timings taken,
    None where TensorRT keeps none; layers: (on the DLA, of how many), None without one."""

    engine: bytes
    workspace_mb: int | None
    cache: bytes | None
    layers: tuple[int, int] | None


class _OutOfMemory(TargetError):
    """A build that may succeed with less."""


def compile(
    onnx: Path, engine: Path, trt: Any, options: Options | None = None, *, free_mb: int | None = None
) -> dict[str, Any]:
    """Build `engine` from `onnx` for this machine and write its sidecar; returns the sidecar.

    free_mb: refuse to start with less available memory than this (on a small board the builder would be killed).
    Timings are kept beside the engine and serve the next build on the same machine, in the same power mode.
    trt: the module (trt_module.py). Raises TargetError with TensorRT's own words.
    """
    options = options or Options()
    check_free(free_mb)
    start = perf_counter()
    place = place_of(trt)
    cache = engine.with_name(cache_name(place))
    known = _timings(cache)
    plan = build_plan(onnx, trt, options, timings=known)
    write_bytes(engine, plan.engine)
    if plan.cache is not None:
        write_bytes(cache, plan.cache)
    built = {
        "build_seconds": round(perf_counter() - start, 1),
        "built_with_workspace_mb": plan.workspace_mb,
        "timing_cache": None if plan.cache is None else cache.name,
        "layers_on_dla": None if plan.layers is None else list(plan.layers),
    }
    return write_sidecar(engine, onnx, place, options, built)


def _timings(cache: Path) -> bytes:
    """What an earlier build kept; TensorRT itself refuses what is none of its own."""
    try:
        return read_bytes(cache, MOST_TIMINGS) if cache.is_file() else b""
    except (OSError, Unfit) as error:
        raise TargetError(f"cannot read {cache}: {error}", "Delete it: it only saves time.") from error


def check_free(free_mb: int | None) -> None:
    """TargetError where less memory than this is available; where that is not known, nothing."""
    available = memory_available_mb()
    if free_mb is not None and 0 < available < free_mb:
        raise TargetError(
            f"{available:.0f} MB of memory are free, a build here needs {free_mb} MB",
            "Close other programs (on a small Jetson also the desktop), then compile again.",
        )


def build_plan(onnx: Path, trt: Any, options: Options | None = None, *, timings: bytes = b"") -> Plan:
    """The engine of a self-contained ONNX file, not written anywhere.

    A dynamic batch gets one optimisation profile, 1 to 64, tuned for 1. Where memory runs out, it is tried again with
    half the workspace, down to 16 MB. timings: a timing cache; one that TensorRT does not take is not used.
    Raises TargetError with TensorRT's own words.
    """
    options = options or Options()
    failure = None
    for workspace_mb in workspaces(options.workspace_mb):
        try:
            return _build_once(onnx, trt, options, workspace_mb, timings)
        except _OutOfMemory as error:
            failure = error
            log.warning("%s (workspace: %s)", error.wrong, "no limit" if workspace_mb is None else f"{workspace_mb} MB")
    assert failure is not None
    raise TargetError(failure.wrong, failure.todo) from failure


def workspaces(asked: int | None) -> Iterator[int | None]:
    """The limit asked for, then ever smaller ones; without a limit, 1024 MB is the next."""
    yield asked
    smaller = 1024 if asked is None else asked // 2
    while smaller >= LEAST_WORKSPACE_MB:
        yield smaller
        smaller //= 2


def _build_once(onnx: Path, trt: Any, options: Options, workspace_mb: int | None, timings: bytes) -> Plan:
    logger = new_logger(trt)
    builder = new_builder(trt, logger)
    network, parser = _parsed(onnx, trt, builder, logger)
    config = builder.create_builder_config()
    # fp32 then means fp32, not the 10-bit mantissa of TF32; an fp16 network is not touched by this.
    config.clear_flag(trt.BuilderFlag.TF32)
    if workspace_mb is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, workspace_mb << 20)
    image = network.get_input(0)
    if image.shape[0] == -1:
        rest = tuple(image.shape)[1:]
        profile = builder.create_optimization_profile()
        profile.set_shape(image.name, (1, *rest), (1, *rest), (MAX_BATCH, *rest))
        config.add_optimization_profile(profile)
    layers = None if options.dla_core is None else _use_dla(onnx, trt, builder, config, network, options.dla_core)
    # RTX chooses its kernels where the engine runs: timing caches are deprecated there and do nothing.
    caching = trt.__name__ != "tensorrt_rtx" and _use_timings(config, timings)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise _failed(onnx, trt, logger.said())
    cache = config.get_timing_cache() if caching else None
    del parser  # it holds the weights that the network points to, so not before here
    return Plan(bytes(plan), workspace_mb, None if cache is None else bytes(cache.serialize()), layers)


def _parsed(onnx: Path, trt: Any, builder: Any, logger: Any) -> tuple[Any, Any]:
    """The network, strongly typed, and the parser that has filled it."""
    strongly_typed = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    network = builder.create_network(1 << int(strongly_typed) if strongly_typed is not None else 0)
    parser = trt.OnnxParser(network, logger)
    require_onnx(onnx)
    if not parser.parse(read_bytes(onnx, MOST_BYTES)):
        errors = [one_line(parser.get_error(index).desc()) for index in range(parser.num_errors)]
        said = "; ".join(errors) or logger.said()
        todo = "Export with another --student, or measure this one with --runtime onnxruntime-cuda."
        if any(words in said.lower() for words in _OTHER_INT8):
            todo = "It was quantised for onnxruntime on a CPU; TensorRT takes symmetric int8, without quantised biases."
        raise TargetError(f"TensorRT {trt.__version__} does not accept {onnx}: {said}", todo)
    return network, parser


def _failed(onnx: Path, trt: Any, said: str) -> TargetError:
    wrong = f"TensorRT {trt.__version__} cannot build {onnx}: {said}"
    if any(words in said.lower() for words in OUT_OF_MEMORY):
        return _OutOfMemory(wrong, "Free some memory (on a small Jetson close the desktop), then compile again.")
    return TargetError(wrong, "Raise engine.workspace_mb in the profile, or measure with --runtime onnxruntime-cuda.")


def _use_dla(onnx: Path, trt: Any, builder: Any, config: Any, network: Any, core: int) -> tuple[int, int]:
    """Put what can run there on that core, the rest on the GPU; returns how many layers of how many.

    The restrictions are those of "DLA Supported Layers and Restrictions" in TensorRT's documentation: fp16 or int8, and
    one batch size. Raises TargetError for a core that the board lacks, and where nothing could run on it.
    """
    if core >= builder.num_DLA_cores:
        raise TargetError(
            f"the profile asks for DLA core {core}, this board has {builder.num_DLA_cores} DLA cores for this TensorRT",
            "Take engine.dla_core out of the profile: the engine then runs on the GPU.",
        )
    if network.get_input(0).shape[0] == -1:
        raise TargetError(
            f"{onnx} takes any batch, a DLA one alone", "Build with model.static_shape = true in the profile."
        )
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)
    every = [network.get_layer(index) for index in range(network.num_layers)]
    there = sum(config.can_run_on_DLA(layer) for layer in every)
    if there == 0:
        raise TargetError(
            f"no layer of {onnx} can run on a DLA, which computes in fp16 and int8",
            "Choose another precision, or take engine.dla_core out of the profile.",
        )
    log.warning("%d of %d layers run on DLA core %d, the others on the GPU", there, len(every), core)
    return there, len(every)


def _use_timings(config: Any, known: bytes) -> bool:
    """Give the builder a timing cache, an empty one where the known one is not taken; whether it has one then."""
    for content in (known, b"") if known else (b"",):
        cache = config.create_timing_cache(content)
        if cache is not None and config.set_timing_cache(cache, False):  # False: not one of another version or GPU
            return True
        if content:
            log.warning("the timing cache is not of this TensorRT and GPU: a new one is begun")
    return False


def cache_name(place: Place) -> str:
    """One file a machine, library and power mode: TensorRT refuses those of another version, not of another mode."""
    words = json.dumps({**asdict(place), "power_mode": power_mode()}, sort_keys=True)
    return f"timing-{sha256(words.encode()).hexdigest()[:12]}.cache"
