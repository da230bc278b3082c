"""One TOML file a board: facts, budgets and how the board recognises itself.

`load_profile` reads a file of this folder by name, or any TOML file by path. Unknown keys and wrong types are errors,
so a misspelt budget cannot go unnoticed. The bundle carries the resolved profile as JSON (`Profile.to_json`, the same
shape as the TOML file), because a board need not have a TOML reader.

[identify], [runtime], [onnxruntime], [model], [budget], [engine] and [measure] decide what is built, run and passed.
The title, the notes, [power], [[stack]] and [plausible] are facts for a person, which `edgedistill profiles show`
prints.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgedistill.errors import InputError
from edgedistill.records import plain, read, wrong
from edgedistill.targets import limits, machine
from edgedistill.targets.names import PRECISIONS, RUNTIMES, OptimisationName, PrecisionName, RuntimeName
from edgedistill.targets.outside import Unfit
from edgedistill.toml_file import read_toml

__all__ = ["Budget", "Profile", "fitting", "list_profiles", "load_profile", "unreadable"]

FOLDER = Path(__file__).resolve().parent
SCHEMA = 1
GENERAL = ("cuda", "cpu")  # fit whatever has a GPU, or a CPU


@dataclass(frozen=True, kw_only=True)
class Identify:
    """How the device recognises itself. Every key given must match; of a list, any one string.

    compatible, model: substrings of /proc/device-tree/compatible and .../model; not_compatible: absent from the
    first. machine: platform.machine(). cpu_model: substring of "model name" in /proc/cpuinfo; cpu_flags: all of them.
    gpu: an NVIDIA GPU, of at least min_compute_capability ("8.7"). min_memory_mb: MemTotal in MiB.
    """

    compatible: tuple[str, ...] = ()
    not_compatible: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    machine: tuple[str, ...] = ()
    cpu_model: tuple[str, ...] = ()
    cpu_flags: tuple[str, ...] = ()
    gpu: bool = False
    min_compute_capability: str | None = None
    min_memory_mb: int | None = None


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What runs the model on the board.

    prefer: runtimes in order of preference. reference: the one that tells the agreement on a machine that is not the
    board. threads: of a CPU runtime; 0 leaves them to be found on the device, by trial of up to one for each physical
    core, at most 8. cuda_graph: TensorRT records its calls once and replays them, and so does onnxruntime on a GPU
    where its io_binding is on.
    """

    prefer: tuple[RuntimeName, ...]
    reference: RuntimeName = "onnxruntime-cpu"
    threads: int = 0
    cuda_graph: bool = False


@dataclass(frozen=True, kw_only=True)
class OnnxRuntime:
    """How onnxruntime runs a graph, under any of its providers (targets/providers.py says what each word does there).

    arena: memory of one call is kept for the next. spin: idle threads wait busily. optimisation: of the graph when it
    is loaded. io_binding: inputs and outputs are bound once, on the device; for a graph of a fixed batch.
    """

    arena: bool = True
    spin: bool = True
    optimisation: OptimisationName = "all"
    io_binding: bool = False


@dataclass(frozen=True, kw_only=True)
class Model:
    """What is built: input side in pixels, the timm backbone where none is named, precisions in order of preference
    (fp32 is always built too), ONNX opset; static_shape: the graph takes one image at a time, else batches too."""

    input_size: int
    student: str
    precisions: tuple[PrecisionName, ...]
    opset: int = 18
    static_shape: bool = True


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the verdict is decided on.

    latency_p95_ms: of one query, from raw pixels to probabilities. memory_mb: MiB, the peak while serving.
    agreement_min: the lower end of the agreement with the teacher, a share. accuracy_drop_max: with enough labelled
    check images instead, how far the lower end of (student - teacher accuracy) may lie below 0, a share.
    """

    latency_p95_ms: float
    memory_mb: float
    agreement_min: float = 0.90
    accuracy_drop_max: float = 0.03


@dataclass(frozen=True, kw_only=True)
class Engine:
    """How TensorRT builds an engine on the board. Limits are in MiB; None is no limit.

    workspace_mb: scratch memory of the builder. free_mb: with less memory available it does not start. dla_core: the
    core of the board's DLA that runs what it can of an fp16 or int8 model; None for the GPU alone.
    """

    workspace_mb: int | None = None
    free_mb: int | None = None
    dla_core: int | None = None


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How long is measured (seconds; queries of one image), and above which temperature (Celsius) a run is invalid."""

    warmup_s: float
    min_s: float
    min_queries: int
    hot_c: float


@dataclass(frozen=True, kw_only=True)
class Power:
    """Power modes by name, since their numbers differ between modules: those known, the one that the times in
    [plausible] refer to, and the one that every such board ships in. Without it boards differ, as they were flashed,
    and only the board can tell."""

    modes: tuple[str, ...]
    reference: str
    default: str | None = None


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One combination of software that is known for the board, in words."""

    name: str
    l4t: str | None = None
    python: str | None = None
    cuda: str | None = None
    tensorrt: str | None = None
    onnxruntime: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plausible:
    """The expected median time of one image, (low, high) in ms by timm backbone. basis: "anchored" to a published
    measurement of at least one of them, or "derived" by arithmetic alone."""

    basis: Literal["anchored", "derived"]
    p50_ms: dict[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A board. `name` is its file's stem, `stack` the [[stack]] tables, `plausible` a table a precision."""

    schema: int
    name: str
    title: str
    notes: tuple[str, ...] = ()
    identify: Identify
    runtime: Runtime
    onnxruntime: OnnxRuntime = field(default_factory=OnnxRuntime)
    model: Model
    budget: Budget
    engine: Engine = field(default_factory=Engine)
    measure: Measure
    power: Power | None = None
    stack: tuple[Stack, ...] = ()
    plausible: dict[str, Plausible] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The profile as JSON values, in the shape of the TOML file with every default filled in."""
        return plain(self)

    @classmethod
    def from_json(cls, table: Mapping[str, Any], where: str = "profile") -> Profile:
        """The inverse of `to_json`, and what reads a TOML table. `where` names the file in errors (InputError)."""
        profile = read(cls, table, where)
        for key, found, good, todo in _values(profile):
            if not good:
                raise wrong(where, key, f"is {found!r}", todo)
        return profile


def list_profiles() -> list[str]:
    """Names of the profiles that come with the package, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_profile(name_or_path: str | Path) -> Profile:
    """A profile by name, or from a TOML file (anything with a slash or ending in .toml). Raises InputError."""
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or text.endswith(".toml"):
        path = Path(os.path.expanduser(name_or_path))
    elif text in list_profiles():
        path = FOLDER / f"{text}.toml"
    else:
        raise InputError(f"no profile named {text!r}", _meant(text))
    try:
        table = read_toml(path)
    except OSError as error:
        raise InputError(f"cannot read the profile {path}: {error.strerror}", "Check the path.") from error
    except Unfit as error:
        raise InputError(f"{path} {error}", "Correct it; profiles/cpu.toml is one that is right.") from error
    profile = Profile.from_json(table, str(path))
    if profile.name != path.stem:
        raise wrong(str(path), "name", f"is {profile.name!r}, the file is named {path.stem!r}", "Make them equal.")
    return profile


def _meant(text: str) -> str:
    """What to do about a name that no profile has: those that hold it, or the nearest, or all."""
    known = list_profiles()
    asked = text.strip().lower()
    family = [name for name in known if len(asked) > 1 and asked in name]
    if len(family) > 1:
        return f"Which {asked}? {', '.join(family)}."
    near = family or difflib.get_close_matches(asked, known, n=1)
    hint = f"Did you mean {near[0]}? " if near else ""
    return f"{hint}Known: {', '.join(known)}; or a path to a TOML file."


def fitting(facts: machine.Facts) -> list[str]:
    """Names of the profiles that this machine fits, the most specific first: a board's own, then any GPU or CPU."""
    names = [name for name in list_profiles() if _status(name, facts) == machine.MATCH]
    return sorted(names, key=_generality)


def unreadable(facts: machine.Facts) -> bool:
    """Whether a profile may fit, and this machine does not tell."""
    return any(_status(name, facts) == machine.UNREADABLE for name in list_profiles())


def _generality(name: str) -> tuple[int, int]:
    """The more general, the larger; of boards, one that is known by a longer string is the more special."""
    if name in GENERAL:
        return GENERAL.index(name) + 1, 0
    identify = load_profile(name).identify
    return 0, -max(map(len, (*identify.compatible, *identify.model, *identify.cpu_model)), default=0)


def _status(name: str, facts: machine.Facts) -> str:
    return machine.identify(load_profile(name).to_json(), facts=facts).status


def _values(profile: Profile) -> Iterator[tuple[str, object, bool, str]]:
    """What a type cannot say: (key, value found, whether it is good, what it has to be)."""
    name, identify, power = profile.name, profile.identify, profile.power
    yield "schema", profile.schema, profile.schema == SCHEMA, f"This version reads schema {SCHEMA}."
    yield "name", name, bool(re.fullmatch(r"[a-z0-9][a-z0-9-]*", name)), "Use a-z, 0-9 and hyphens."
    yield "runtime.prefer", [], bool(profile.runtime.prefer), f"Name at least one of: {', '.join(RUNTIMES)}."
    yield "model.precisions", [], bool(profile.model.precisions), f"Name at least one of: {', '.join(PRECISIONS)}."
    yield "identify", {}, identify != Identify(), "Name at least one thing by which the board is known."
    capability = identify.min_compute_capability
    if capability is not None:
        key = "identify.min_compute_capability"
        yield key, capability, bool(re.fullmatch(r"\d+\.\d+", capability, re.ASCII)), 'Write it as "8.7".'
        yield key, capability, identify.gpu, "Add gpu = true: it is asked of the GPU."
    for precision, expected in profile.plausible.items():
        key = f"plausible.{precision}"
        yield key, precision, precision in PRECISIONS, f"Known precisions: {', '.join(PRECISIONS)}."
        for model, (low, high) in expected.p50_ms.items():
            yield f"{key}.p50_ms.{model}", [low, high], 0 < low <= high, "Write [low, high] in ms."
    if power is not None:
        for key, named in (("power.default", power.default), ("power.reference", power.reference)):
            yield key, named, named is None or named in power.modes, f"Known modes: {', '.join(power.modes)}."
    yield from _ranges(profile)


def _ranges(profile: Profile) -> Iterator[tuple[str, object, bool, str]]:
    """As `_values`, for numbers; None stands for no limit."""
    for key, range in (limits.PROFILE | limits.OPTIONAL).items():
        section, _, name = key.partition(".")
        number = getattr(getattr(profile, section), name)
        yield key, number, number is None or range.holds(number), f"It has to be {range.words}."
