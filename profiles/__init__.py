"""One TOML file a board: facts, budgets and how the board recognises itself.

`load_profile` reads a file of this folder by name, or any TOML file by path. Unknown keys and wrong types are errors,
so a misspelt budget cannot go unnoticed. The bundle carries the resolved profile as JSON (`Profile.to_json`, the same
shape as the TOML file), because a board need not have a TOML reader.
"""

from __future__ import annotations

import dataclasses
import difflib
import re
import sys
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from edgedistill.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["Profile", "list_profiles", "load_profile"]

FOLDER = Path(__file__).resolve().parent
SCHEMA = 1
RUNTIMES = ("onnxruntime-cpu", "onnxruntime-cuda", "tensorrt")
PRECISIONS = ("fp32", "fp16", "int8")


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
    """Runtimes in order of preference; `reference` gives the golden answers; threads 0 = physical cores, at most 8."""

    prefer: tuple[str, ...]
    reference: str = "onnxruntime-cpu"
    threads: int = 0
    cuda_graph: bool = False


@dataclass(frozen=True, kw_only=True)
class Model:
    """What is built: input side in pixels, batch, precisions in order of trial, opset, a suggested timm backbone."""

    input_size: int
    batch: int
    precisions: tuple[str, ...]
    int8_needs_any_flag: tuple[str, ...] = ()
    opset: int = 18
    static_shape: bool = True
    student: str


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What the verdict is decided on; memory in MiB. build_* bound a TensorRT build on the board."""

    latency_p95_ms: float
    memory_mb: float
    agreement_min: float = 0.90
    accuracy_drop_max: float = 0.03
    build_workspace_mb: int | None = None
    build_free_mb: int | None = None


@dataclass(frozen=True, kw_only=True)
class Power:
    """Power modes by name (never by number: those move between modules); modes are read, never set."""

    modes: tuple[str, ...]
    default: str
    reference: str
    upper_factor: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How long is measured, and above which temperature (Celsius) a run is invalid; probes that exist here."""

    warmup_s: float
    min_s: float
    min_queries: int
    hot_c: float
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Dla:
    """Deep learning accelerator cores, and the TensorRT versions that can use them."""

    default: bool
    cores: int
    tensorrt: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One software combination meant to be supported, in words."""

    name: str
    l4t: str | None = None
    python: str | None = None
    cuda: str | None = None
    tensorrt: str | None = None
    onnxruntime: str | None = None


@dataclass(frozen=True, kw_only=True)
class Plausible:
    """Expected p50 in ms, (low, high) per model, from published rows ("anchored") or arithmetic ("derived")."""

    basis: str
    models: dict[str, tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Profile:
    """A board. `name` is its file's stem; `stacks` and `plausible` are shown, they decide nothing."""

    schema: int
    name: str
    title: str
    notes: tuple[str, ...] = ()
    identify: Identify
    runtime: Runtime
    model: Model
    budget: Budget
    power: Power | None = None
    measure: Measure
    dla: Dla | None = None
    stacks: tuple[Stack, ...] = ()
    plausible: dict[str, Plausible] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The profile as JSON values, in the shape of the TOML file with every default filled in."""
        table = _plain(self)
        table["stack"] = table.pop("stacks")
        table["plausible"] = {
            precision: {"basis": p.basis, **_plain(p.models)} for precision, p in self.plausible.items()
        }
        return table

    @classmethod
    def from_json(cls, table: Mapping[str, Any], where: str = "profile") -> Profile:
        """The inverse of `to_json`, and what reads a TOML table. `where` names the file in errors (InputError)."""
        table = dict(table)
        if "stacks" in table:
            raise _wrong(where, "stacks", "is not a key of a profile", "Did you mean [[stack]]?")
        table["stacks"] = table.pop("stack", [])
        table["plausible"] = _plausible(table.get("plausible", {}), where)
        profile = _record(cls, table, where, "")
        _check_values(profile, where)
        return profile


def list_profiles() -> list[str]:
    """Names of the profiles that come with the package, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_profile(name_or_path: str | Path) -> Profile:
    """A profile by name, or from a TOML file (anything with a slash or ending in .toml). Raises InputError."""
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or "/" in text or text.endswith(".toml"):
        path = Path(name_or_path)
    elif text in list_profiles():
        path = FOLDER / f"{text}.toml"
    else:
        near = difflib.get_close_matches(text, list_profiles(), n=1)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise InputError(
            f"no profile named {text!r}", f"{hint}Known: {', '.join(list_profiles())}; or a path to a TOML file."
        )
    try:
        table = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the profile {path}: {error.strerror}", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start})", "Save the file as UTF-8.") from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path} is not valid TOML: {error}", "Correct that line.") from error
    profile = Profile.from_json(table, str(path))
    if profile.name != path.stem:
        raise _wrong(str(path), "name", f"is {profile.name!r}, the file is named {path.stem!r}", "Make them equal.")
    return profile


T = TypeVar("T")


def _record(cls: type[T], table: Mapping[str, Any], where: str, prefix: str) -> T:
    """A dataclass from a table: unknown and missing keys and wrong types are InputErrors naming key and file."""
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            raise _wrong(
                where,
                prefix + str(key),
                "is not a key of a profile",
                f"Did you mean {near[0]}?" if near else f"Known here: {', '.join(fields)}.",
            )
    for key, spec in fields.items():
        if key not in table and spec.default is dataclasses.MISSING and spec.default_factory is dataclasses.MISSING:
            raise _wrong(where, prefix + key, "is missing", "Add it.")
    return cls(**{key: _typed(hints[key], value, where, prefix + key) for key, value in table.items()})


def _typed(hint: Any, value: Any, where: str, key: str) -> Any:
    """`value` checked against a field's type; lists become tuples, tables become dataclasses."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:  # only "X | None" is used here
        return None if value is None else _typed(args[0], value, where, key)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        if isinstance(value, hint):
            return value
        return _record(hint, _typed(dict, value, where, key), where, key + ".")
    if origin is tuple:
        items = _typed(list, list(value) if isinstance(value, tuple) else value, where, key)
        if args[-1] is not Ellipsis and len(items) != len(args):
            raise _wrong(where, key, f"has {len(items)} values, not {len(args)}", "Write [low, high].")
        return tuple(_typed(args[0], item, where, f"{key}[{i}]") for i, item in enumerate(items))
    if origin is dict:
        table = _typed(dict, value, where, key)
        return {name: _typed(args[1], item, where, f"{key}.{name}") for name, item in table.items()}
    accepted = (int, float) if hint is float else hint
    if not isinstance(value, accepted) or (isinstance(value, bool) and hint is not bool):
        wanted = {
            str: "a string",
            int: "an integer",
            float: "a number",
            bool: "true or false",
            list: "a list",
            dict: "a table",
        }
        raise _wrong(where, key, f"is {value!r}", f"It has to be {wanted[hint]}.")
    return value


def _plausible(tables: Any, where: str) -> dict[str, Plausible]:
    """[plausible.<precision>] mixes `basis` with model names; told apart here."""
    found = {}
    for precision, table in _typed(dict[str, dict], tables, where, "plausible").items():
        models = {name: value for name, value in table.items() if name != "basis"}
        fields = {"basis": table["basis"], "models": models} if "basis" in table else {"models": models}
        found[precision] = _record(Plausible, fields, where, f"plausible.{precision}.")
    return found


def _check_values(profile: Profile, where: str) -> None:
    """What a type cannot say."""

    def need(good: bool, key: str, found: object, todo: str) -> None:
        if not good:
            raise _wrong(where, key, f"is {found!r}", todo)

    need(profile.schema == SCHEMA, "schema", profile.schema, f"This version reads schema {SCHEMA}.")
    need(bool(re.fullmatch(r"[a-z0-9][a-z0-9-]*", profile.name)), "name", profile.name, "Use a-z, 0-9 and hyphens.")
    runtime, model, budget, measure = profile.runtime, profile.model, profile.budget, profile.measure
    need(len(runtime.prefer) > 0, "runtime.prefer", [], f"Name at least one of {', '.join(RUNTIMES)}.")
    for name in (*runtime.prefer, runtime.reference):
        need(name in RUNTIMES, "runtime", name, f"Known runtimes: {', '.join(RUNTIMES)}.")
    need(runtime.threads >= 0, "runtime.threads", runtime.threads, "0 means the physical cores, at most 8.")
    for name in (*model.precisions, *profile.plausible):
        need(name in PRECISIONS, "model.precisions or plausible", name, f"Known precisions: {', '.join(PRECISIONS)}.")
    need(16 <= model.input_size <= 4096, "model.input_size", model.input_size, "Use 16 to 4096 pixels.")
    need(model.batch >= 1, "model.batch", model.batch, "Use 1 or more.")
    need(model.opset >= 18, "model.opset", model.opset, "Use 18 or newer.")
    need(
        0 < budget.agreement_min <= 1,
        "budget.agreement_min",
        budget.agreement_min,
        "It is a share: above 0, at most 1.",
    )
    need(
        0 <= budget.accuracy_drop_max <= 1,
        "budget.accuracy_drop_max",
        budget.accuracy_drop_max,
        "It is a share: 0 to 1.",
    )
    positive = {
        "budget.latency_p95_ms": budget.latency_p95_ms,
        "budget.memory_mb": budget.memory_mb,
        "budget.build_workspace_mb": budget.build_workspace_mb,
        "budget.build_free_mb": budget.build_free_mb,
        "measure.min_s": measure.min_s,
        "measure.min_queries": measure.min_queries,
    }
    for key, number in positive.items():
        need(number is None or 0 < number < float("inf"), key, number, "It has to be above 0.")
    need(0 <= measure.warmup_s < float("inf"), "measure.warmup_s", measure.warmup_s, "It cannot be negative.")
    capability = profile.identify.min_compute_capability
    need(
        capability is None or bool(re.fullmatch(r"\d+\.\d+", capability)),
        "identify.min_compute_capability",
        capability,
        'Write it as "8.7".',
    )
    if profile.power is not None:
        for name in (profile.power.default, profile.power.reference, *profile.power.upper_factor):
            need(name in profile.power.modes, "power", name, f"Known modes: {', '.join(profile.power.modes)}.")


def _plain(value: Any) -> Any:
    """Dataclasses and tuples as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


def _wrong(where: str, key: str, what: str, todo: str) -> InputError:
    return InputError(f"{where}: {key} {what}", todo)
