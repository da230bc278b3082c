"""Which runtime a bundle is run with, and the Session for it.

A profile names runtimes in order of preference, and the first that works here is taken. A GPU profile names no CPU
runtime, so it never falls back to one: the CPU has to be asked for by name, and the result then says so.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from . import cudart, machine, ort, providers, thread_trial, torch_trt, trt, trt_build, trt_sidecar
from .errors import TargetError
from .manifest import REBUILD, Manifest, selected_precision, selected_runtime, selected_threads
from .names import CPU, ON_CPU, ORT_TENSORRT, ORT_TENSORRT_RTX, RUNTIMES, TENSORRT, TORCH_TENSORRT, on_gpu
from .printable import line
from .session import check_answers

log = logging.getLogger(__name__)


class Candidate(NamedTuple):
    """One model file under one runtime."""

    precision: str
    runtime: str

    def __str__(self) -> str:
        return f"{self.precision}-{self.runtime}"


def problem(runtime: str) -> TargetError | None:
    """Why `runtime` cannot be used on this machine; None when it can. Imports it, opens nothing."""
    try:
        if runtime == TENSORRT:
            trt.load_tensorrt()
        elif runtime == TORCH_TENSORRT:
            torch_trt.load_torch_tensorrt()
        else:
            providers.check_provider(runtime)
    except TargetError as error:
        return error
    return lack_of_gpu(runtime)


def lack_of_gpu(runtime: str) -> TargetError | None:
    """What is in the way of a runtime that computes on a GPU, where there is none."""
    if on_gpu(runtime) and not cudart.gpus():
        return TargetError(f"{runtime} needs an NVIDIA GPU and this machine shows none", "Check nvidia-smi.")
    return None


def choose(manifest: Manifest, asked: str | None) -> str:
    """`asked`, or the profile's first runtime that works here. TargetError says what is wrong with each."""
    return usable(manifest, asked)[0]


def usable(manifest: Manifest, asked: str | None) -> list[str]:
    """`asked` alone, or every runtime of the profile that works here, in its order. TargetError where there is none."""
    if asked is not None:
        if asked not in RUNTIMES:
            raise TargetError(f"unknown runtime {asked!r}", f"Known: {', '.join(RUNTIMES)}.")
        if (error := problem(asked)) is not None:
            raise error
        return [asked]
    errors = {name: problem(name) for name in manifest.profile["runtime"]["prefer"] if name in RUNTIMES}
    if working := [name for name, error in errors.items() if error is None]:
        return working
    found = "; ".join(f"{name}: {error.wrong}" for name, error in errors.items() if error) or "none is known here"
    raise TargetError(
        f"no runtime of the profile {manifest.profile['name']} works here ({found})",
        f"Install one of them, or name another: --runtime {CPU}",
    )


def candidates(manifest: Manifest, models: Sequence[str] | None, asked: Sequence[str] | None) -> list[Candidate]:
    """Each model of the bundle, or of `models`, under each runtime of the profile that works here, or each `asked` for.

    TargetError for a model that the bundle does not hold, and for a runtime asked for, or all of them, not working.
    """
    for precision in models or ():
        manifest.model(precision)
    working = [usable(manifest, name)[0] for name in asked] if asked else usable(manifest, None)
    wanted = [Candidate(precision, name) for name in working for precision in models or precisions(manifest)]
    return list(dict.fromkeys(wanted))


def precisions(manifest: Manifest) -> list[str]:
    """The bundle's precisions in the profile's order; fp32 last where the profile does not list it."""
    listed = [name for name in manifest.profile["model"]["precisions"] if name in manifest.precisions]
    return listed + [name for name in manifest.precisions if name not in listed]


def engine_of(manifest: Manifest, precision: str, *, again: bool = False) -> Path:
    """The path of this precision's TensorRT engine, built now if there is none that fits this machine (or `again`).

    One that was built in another power mode fits, with a warning.
    """
    library = trt.load_tensorrt()
    onnx = manifest.file(manifest.model(precision)["file"])
    engine, options = engine_path(manifest, precision), engine_options(manifest)
    stale = "asked for" if again else trt_sidecar.why_stale(onnx, engine, trt_sidecar.place_of(library), options)
    if stale is not None:
        log.warning("building %s (%s); this can take minutes, and is killed where memory runs out", engine, stale)
        sidecar = trt_build.compile(onnx, engine, library, options, free_mb=free_mb(manifest))
        log.warning("built in %s s", sidecar["build_seconds"])
    elif mode := trt_sidecar.other_power_mode(engine):
        log.warning("%s was tuned in another power mode (%s): compile --again may make it faster", engine, mode)
    return engine


def engine_path(manifest: Manifest, precision: str) -> Path:
    return manifest.place(f"engines/{precision}.engine")


def engine_options(manifest: Manifest) -> trt_sidecar.Options:
    """How the profile wants engines built."""
    limits = _engine_limits(manifest)
    return trt_sidecar.Options(workspace_mb=limits.get("workspace_mb"), dla_core=limits.get("dla_core"))


def free_mb(manifest: Manifest) -> int | None:
    """With less memory available the profile wants no engine built."""
    return _engine_limits(manifest).get("free_mb")


def _engine_limits(manifest: Manifest) -> dict[str, Any]:
    return manifest.profile.get("engine") or {}


def open_session(
    manifest: Manifest, precision: str, runtime: str, threads: int | None
) -> ort.Session | trt.Session | torch_trt.Session:
    """A Session for one of the bundle's models, its file checked, and its shapes against the labels. threads None: the
    profile's."""
    session = _open(manifest, precision, runtime, threads)
    size = manifest.size
    try:
        if session.size != size:
            raise TargetError(
                f"the {precision} model takes {session.size} pixels, {manifest.path} says {size}", REBUILD
            )
        answers = session.run(np.zeros((0, size, size, 3), np.uint8))
        check_answers(answers, 0)
        if (classes := answers.probabilities.shape[1]) != len(manifest.labels):
            wrong = f"the {precision} model knows {classes} classes, {manifest.path} names {len(manifest.labels)}"
            raise TargetError(wrong, REBUILD)
    except TargetError:
        session.close()
        raise
    return session


def _open(
    manifest: Manifest, precision: str, runtime: str, threads: int | None
) -> ort.Session | trt.Session | torch_trt.Session:
    if runtime == TENSORRT:
        graph = bool(manifest.profile["runtime"].get("cuda_graph"))
        return trt.Session(engine_of(manifest, precision), trt.load_tensorrt(), cuda_graph=graph)
    if runtime == TORCH_TENSORRT:
        return torch_trt.Session(torch_trt.program_of(manifest, precision), manifest.size)
    if threads is None:
        threads = manifest.profile["runtime"].get("threads", 0)
    settings = settings_of(manifest, precision, runtime)
    model = manifest.file(manifest.model(precision)["file"])
    return ort.Session(model, threads=threads, provider=runtime, settings=settings)


def settings_of(manifest: Manifest, precision: str, runtime: str) -> providers.Settings:
    """How onnxruntime runs this model: as the profile says, and with a place for what the TensorRT providers build."""
    cache = _cache_of(manifest, precision, runtime)
    return providers.Settings.of_profile(manifest.profile, precision=precision, cache=cache)


def leaves_threads(manifest: Manifest, runtime: str, asked: int | None) -> bool:
    """Whether the number of threads is to be found by trial: nobody asked for one (0: the physical cores), the profile
    fixes none, and the processor runs it."""
    return asked is None and not on_gpu(runtime) and not manifest.profile["runtime"].get("threads", 0)


def measured_threads(manifest: Manifest, precision: str, runtime: str) -> int | None:
    """The threads that this candidate was measured with, where the verdict selected it and this is the board it was
    measured on; None elsewhere: the profile's."""
    selected = (selected_precision(manifest), selected_runtime(manifest))
    if runtime not in ON_CPU or (precision, runtime) != selected:
        return None
    # No GPU is asked: it would not tell, and what CUDA has started in a process does not outlive a fork.
    facts = machine.read_facts(gpus=lambda: [])
    if machine.identify(manifest.profile, facts=facts).status != machine.MATCH:
        return None
    return selected_threads(manifest, line(machine.device_name(facts)), thread_trial.choices())


def _cache_of(manifest: Manifest, precision: str, runtime: str) -> Path | None:
    """engines/<precision>-<runtime>/, made now, for the runtimes of onnxruntime that build engines; else None.

    onnxruntime itself keeps what lies there apart by model, version and GPU.
    """
    if runtime not in (ORT_TENSORRT, ORT_TENSORRT_RTX):
        return None
    folder = manifest.place(f"engines/{precision}-{runtime}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TargetError(f"cannot make {folder}: {error.strerror}", "Make the bundle writable.") from error
    return folder
