"""onnxruntime's execution providers: which one each of our runtimes is, how it is set up, and proof that it computes.

Left alone, onnxruntime starts the CPU's provider where another's libraries do not load, and hands the CPU whatever node
another does not take. So the provider in use is asserted twice: by the session's own list (`ort.py`), and by its
profile of one run, which names the provider of every node (`check_nodes`).

Options are those of the pages "CUDA", "TensorRT", "TensorRT RTX" and "OpenVINO Execution Provider" of onnxruntime's
documentation, by their names there.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .error_lines import first_line
from .errors import TargetError
from .names import CPU, CUDA, OPENVINO, ORT_TENSORRT, ORT_TENSORRT_RTX, on_gpu
from .stopping import interruption

PROVIDERS = {
    CPU: "CPUExecutionProvider",
    OPENVINO: "OpenVINOExecutionProvider",
    CUDA: "CUDAExecutionProvider",
    ORT_TENSORRT: "TensorrtExecutionProvider",
    ORT_TENSORRT_RTX: "NvTensorRTRTXExecutionProvider",
}
WHERE = {
    CPU: "pip install onnxruntime",
    OPENVINO: "pip install onnxruntime-openvino, in an environment without onnxruntime: both are one folder",
    CUDA: "pip install onnxruntime-gpu, for this CUDA version and in an environment without onnxruntime",
    ORT_TENSORRT: "pip install onnxruntime-gpu, and the TensorRT that it was built for",
    ORT_TENSORRT_RTX: "use an onnxruntime that was built with it (--use_nv_tensorrt_rtx)",
}
TF32 = "NVIDIA_TF32_OVERRIDE"
TELEMETRY = "ORT_DISABLE_TELEMETRY"
_LEVELS = {
    "all": "ORT_ENABLE_ALL",
    "extended": "ORT_ENABLE_EXTENDED",
    "basic": "ORT_ENABLE_BASIC",
    "off": "ORT_DISABLE_ALL",
}
# What a layer with weights is called in a profile: Conv, FusedConv, QLinearConv, ConvInteger, Gemm, FusedMatMul, ...
_LAYERS = ("Conv", "Gemm", "MatMul")


@dataclass(frozen=True)
class Settings:
    """How onnxruntime runs a graph: what a profile says (`of_profile`), else onnxruntime's own defaults.

    arena: memory of one call is kept for the next. Without, the CPU gives it back, and a GPU's grows by what is asked
    for instead of by powers of two. spin: idle threads wait busily: the fastest for one query after the other.
    optimisation: of the graph, one of names.OPTIMISATIONS. io_binding: inputs and outputs are bound once, on the device
    (a fixed batch alone). cuda_graph: calls are recorded and replayed, with io_binding and on a GPU.
    workspace_mb: TensorRT's scratch memory. cache: a folder for what the TensorRT providers build, None for nowhere.
    precision: of the model: TensorRT below onnxruntime has to be told that half or int8 may be used.
    """

    arena: bool = True
    spin: bool = True
    optimisation: str = "all"
    io_binding: bool = False
    cuda_graph: bool = False
    workspace_mb: int | None = None
    cache: Path | None = None
    precision: str = "fp32"

    @classmethod
    def of_profile(cls, profile: dict[str, Any], *, precision: str = "fp32", cache: Path | None = None) -> Settings:
        """What a bundle's profile says. A bundle of before there was an [onnxruntime] table has the defaults."""
        own = profile.get("onnxruntime") or {}
        return cls(
            arena=own.get("arena", True),
            spin=own.get("spin", True),
            optimisation=own.get("optimisation", "all"),
            io_binding=own.get("io_binding", False),
            cuda_graph=bool(profile["runtime"].get("cuda_graph")),
            workspace_mb=(profile.get("engine") or {}).get("workspace_mb"),
            cache=cache,
            precision=precision,
        )


def options(ort: Any, settings: Settings, threads: int) -> Any:
    """A SessionOptions. It logs errors only: warnings about details of a graph are for whoever exported it."""
    made = ort.SessionOptions()
    made.log_severity_level = 3
    made.intra_op_num_threads = threads
    made.inter_op_num_threads = 1
    made.enable_cpu_mem_arena = settings.arena
    made.graph_optimization_level = getattr(ort.GraphOptimizationLevel, _LEVELS[settings.optimisation])
    if not settings.spin:
        made.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return made


def requested(runtime: str, settings: Settings, threads: int) -> list[tuple[str, dict[str, str]]]:
    """The providers of a session with their options, the one that has to compute first.

    Below TensorRT's stands CUDA's, as its page advises, for a node that TensorRT does not take; `check_nodes` sees to
    it that no layer ends there.
    """
    graph = str(int(_replays(settings)))
    strategy = "kNextPowerOfTwo" if settings.arena else "kSameAsRequested"
    cuda = (PROVIDERS[CUDA], {"use_tf32": "0", "arena_extend_strategy": strategy, "enable_cuda_graph": graph})
    if runtime == CPU:
        return [(PROVIDERS[CPU], {})]
    if runtime == OPENVINO:
        # Precision: on a processor with bfloat16 OpenVINO's own choice is to compute in that.
        wanted = {"device_type": "CPU", "precision": "FP32", "num_of_threads": str(threads), "num_streams": "1"}
        return [(PROVIDERS[OPENVINO], wanted)]
    if runtime == ORT_TENSORRT:
        return [(PROVIDERS[ORT_TENSORRT], _tensorrt(settings, graph)), (cuda[0], cuda[1] | {"enable_cuda_graph": "0"})]
    if runtime == ORT_TENSORRT_RTX:
        return [(PROVIDERS[ORT_TENSORRT_RTX], _tensorrt_rtx(settings, graph))]
    return [cuda]


def _replays(settings: Settings) -> bool:
    """A recording holds for buffers that stay where they are."""
    return settings.cuda_graph and settings.io_binding


def _tensorrt(settings: Settings, graph: str) -> dict[str, str]:
    """Of a weakly typed network: precision is allowed by flags. It may then also do in half what the file has in
    float32; whether that is near enough, the golden answers say."""
    wanted = {
        "trt_fp16_enable": str(int(settings.precision != "fp32")),
        "trt_int8_enable": str(int(settings.precision == "int8")),
        "trt_cuda_graph_enable": graph,
    }
    if settings.workspace_mb is not None:
        wanted["trt_max_workspace_size"] = str(settings.workspace_mb << 20)
    if settings.cache is not None:
        wanted |= {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(settings.cache)}
        wanted |= {"trt_timing_cache_enable": "1", "trt_timing_cache_path": str(settings.cache)}
    return wanted


def _tensorrt_rtx(settings: Settings, graph: str) -> dict[str, str]:
    """TensorRT-RTX is strongly typed: the file decides."""
    wanted = {"enable_cuda_graph": graph}
    if settings.workspace_mb is not None:
        wanted["nv_max_workspace_size"] = str(settings.workspace_mb << 20)
    if settings.cache is not None:
        wanted["nv_runtime_cache_path"] = str(settings.cache)
    return wanted


def check_provider(runtime: str) -> str:
    """onnxruntime's own name of a provider it was built with. TargetError when it has no such, or is not installed."""
    if runtime not in PROVIDERS:
        raise TargetError(f"{runtime!r} is no runtime of onnxruntime", f"Known here: {', '.join(PROVIDERS)}.")
    ort, _ = load_onnxruntime()
    available = ort.get_available_providers()
    if PROVIDERS[runtime] not in available:
        raise TargetError(
            f"this onnxruntime {ort.__version__} has no {PROVIDERS[runtime]}; it has {', '.join(available)}",
            f"To have it: {WHERE[runtime]}; or name another --runtime.",
        )
    return PROVIDERS[runtime]


def load_onnxruntime() -> tuple[Any, tuple[type[Exception], ...]]:
    """The module and its exception types, which have no common base of their own. Its telemetry stays off."""
    turn_telemetry_off()
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as state
    except ImportError as error:
        if interruption(error):  # Ctrl-C while its libraries load: pybind11 makes an ImportError of it
            raise KeyboardInterrupt from error
        raise TargetError(f"onnxruntime cannot be imported: {error}", "Install it: pip install onnxruntime") from error
    own = tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
    return onnxruntime, (*own, RuntimeError, ValueError)


def preload_libraries(ort: Any) -> str:
    """Load CUDA's and cuDNN's libraries from the wheels beside onnxruntime (from 1.21 on it knows how).

    Returns the first line of what it says of those that do not load, "" where all do: it prints that on stdout.
    """
    if not hasattr(ort, "preload_dlls"):
        return ""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        ort.preload_dlls()
    return first_line(said.getvalue())


def turn_telemetry_off() -> None:
    """Before onnxruntime is imported: the wheels of 1.32 report to Microsoft from then on (they look up its hosts, and
    leave a device's number in ~/.cache/Microsoft and .ses in the folder of temporary files). Child processes inherit
    it. A value that the variable has already stays; what a program imported before is that program's own.
    """
    os.environ.setdefault(TELEMETRY, "1")


def turn_tf32_off() -> None:
    """For a program of our own, before it loads CUDA: fp32 means 24 bits of mantissa, not TF32's 11.

    CUDA's provider has an option for it, which is given too, but cuDNN heeds this variable alone (cuBLAS's and cuDNN's
    documentation name it), and TensorRT's provider has no option. It is the whole process's, so a session in somebody
    else's program does not set it, and says so (`tf32`).
    """
    os.environ[TF32] = "0"


def tf32(runtime: str) -> str | None:
    """Whether a session of now may compute float32 in TF32, in words; None on a processor, where there is none."""
    if not on_gpu(runtime):
        return None
    if os.environ.get(TF32) == "0":
        return "off"
    return f"off in matrix products; cuDNN chooses, {TF32} is not 0" if runtime == CUDA else f"on, {TF32} is not 0"


def nodes_of(profile: Path) -> dict[str, Counter[str]]:
    """Provider -> its operators with their number, of one run that onnxruntime profiled into this JSON file."""
    found: dict[str, Counter[str]] = {}
    for event in json.loads(profile.read_text(encoding="utf-8")):
        facts = event.get("args") or {}
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time") and facts.get("provider"):
            found.setdefault(facts["provider"], Counter())[facts.get("op_name", "?")] += 1
    return found


def check_nodes(runtime: str, nodes: dict[str, Counter[str]]) -> None:
    """Raise TargetError unless nodes ran under this runtime's provider, and every layer with weights among them.

    Shapes, casts and the like may run elsewhere: onnxruntime itself puts some on the processor. `describe` counts them.
    """
    wanted = PROVIDERS[runtime]
    lost = {
        provider: sorted({name for name in names if any(layer in name for layer in _LAYERS)})
        for provider, names in nodes.items()
        if provider != wanted
    }
    lost = {provider: names for provider, names in lost.items() if names}
    if wanted in nodes and not lost:
        return
    where = "; ".join(f"{', '.join(names)} on {provider}" for provider, names in lost.items())
    raise TargetError(
        f"{wanted} was asked for, but ran {'not all layers: ' + where if wanted in nodes else 'no node of the graph'}",
        "It does not take this graph: measure it under another --runtime.",
    )
