"""What a TensorRT engine fits: a JSON file beside it, and what is different here.

An engine fits one build of TensorRT and one kind of GPU, and answers for what it was made from: one ONNX file, or for
torch-tensorrt a student's files. TensorRT finds some of this out by itself and says it in a number; the sidecar names
it before.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .atomic import sha256_file, write_json
from .cudart import gpus
from .errors import TargetError
from .machine import board_module
from .manifest import read_json
from .nvpmodel import power_mode

SCHEMA = 2
COMPILE = "Build it here: python run.py compile"

# What the board may not tell, as in a container: None fits anything.
_MAY_BE_UNKNOWN = ("board_module",)


@dataclass(frozen=True)
class Options:
    """How an engine is built. workspace_mb: TensorRT's limit for scratch memory, None for none. dla_core: the core of
    the board's DLA that runs what it can, None for the GPU alone."""

    workspace_mb: int | None = None
    dla_core: int | None = None


@dataclass(frozen=True)
class Place:
    """Where an engine is at home. library: `tensorrt`, `tensorrt_rtx`, `torch-tensorrt` or, built by the tool,
    `trtexec`. board_module: of a Jetson, such as "p3767-0003": two modules may share the name of their GPU."""

    library: str
    version: str
    gpu: str
    compute_capability: str
    multiprocessors: int
    board_module: str | None


def this_place(library: str, version: str) -> Place:
    """This machine, under that library."""
    found = gpus()
    gpu = found[0] if found else None
    return Place(
        library=library,
        version=version,
        gpu=gpu.name if gpu else "",
        compute_capability=gpu.compute_capability if gpu else "",
        multiprocessors=gpu.multiprocessors if gpu else 0,
        board_module=board_module(),
    )


def place_of(trt: Any) -> Place:
    """This machine, under this module."""
    return this_place(trt.__name__, str(trt.__version__))


def sidecar_of(engine: Path) -> Path:
    return engine.with_name(engine.name + ".json")


def write_sidecar(engine: Path, onnx: Path, place: Place, options: Options, built: dict[str, Any]) -> dict[str, Any]:
    """Write what the finished `engine` of this ONNX file fits, with facts about its building; returns it."""
    return seal(engine, _of_onnx(onnx), place, options, built)


def seal(
    engine: Path, made_from: dict[str, Any], place: Place, options: Options, built: dict[str, Any]
) -> dict[str, Any]:
    """`write_sidecar` for an engine of something else; made_from: names and hashes that tell it from any other."""
    content = {
        "schema": SCHEMA,
        **asdict(place),
        **asdict(options),
        "power_mode": power_mode(),
        **made_from,
        "engine_sha256": sha256_file(engine),
        **built,
    }
    write_json(sidecar_of(engine), content)
    return content


def _of_onnx(onnx: Path) -> dict[str, Any]:
    return {"onnx_sha256": sha256_file(onnx)}


def read_sidecar(engine: Path) -> dict[str, Any] | None:
    """What stands beside `engine`; None where nothing does. TargetError where it cannot be read."""
    path = sidecar_of(engine)
    return read_json(path) if path.is_file() else None


def why_stale(onnx: Path, engine: Path, place: Place, options: Options) -> str | None:
    """Why `engine` has to be built (again) before it can answer for `onnx` here, in words; None when it fits."""
    return why_unsealed(engine, _of_onnx(onnx), place, options)


def why_unsealed(engine: Path, made_from: dict[str, Any], place: Place, options: Options) -> str | None:
    """`why_stale` for an engine of something else, by what `seal` was told."""
    try:
        sidecar = read_sidecar(engine)
    except TargetError as error:
        return error.wrong
    if sidecar is None or not engine.is_file():
        return "there is none yet"
    return _difference(sidecar, {**asdict(place), **asdict(options), **made_from}) or _damage(sidecar, engine)


def refuse_foreign(engine: Path, place: Place) -> dict[str, Any]:
    """The sidecar of an engine that is about to be loaded; {} where it has none: then TensorRT alone judges.

    TargetError names what differs: the engine was built for another place, or is not the file that was built.
    """
    sidecar = read_sidecar(engine)
    if sidecar is None:
        return {}
    found = _difference(sidecar, asdict(place)) or _damage(sidecar, engine)
    if found is not None:
        raise TargetError(f"{engine} does not fit this machine: {found}", COMPILE)
    return sidecar


def other_power_mode(engine: Path) -> str | None:
    """That `engine` was built in another power mode than this one, in words; None where they are the same or unknown.

    It runs all the same: only its kernels were chosen by their times in that mode.
    """
    before, now = (read_sidecar(engine) or {}).get("power_mode"), power_mode()
    if before is None or now is None or before == now:
        return None
    return f"power_mode was {before!r} and is {now!r}"


def _difference(sidecar: dict[str, Any], wanted: dict[str, Any]) -> str | None:
    if sidecar.get("schema") != SCHEMA:
        return f"its sidecar has schema {sidecar.get('schema')!r}"
    core = sidecar.get("dla_core")
    if not (core is None or isinstance(core, int)):
        return f"dla_core is {core!r}"
    for key, value in wanted.items():
        found = sidecar.get(key)
        if found != value and not (key in _MAY_BE_UNKNOWN and None in (found, value)):
            return f"{key} was {found!r} and is {value!r}"
    return None


def _damage(sidecar: dict[str, Any], engine: Path) -> str | None:
    try:
        content = sha256_file(engine)
    except OSError as error:
        raise TargetError(f"cannot read {engine}: {error.strerror}", COMPILE) from error
    return None if sidecar.get("engine_sha256") == content else "its content is not what was built"
