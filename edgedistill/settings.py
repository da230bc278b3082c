"""What a build was asked for: flags over build.toml over environment over defaults, merged and checked once.

Keys of build.toml are the flag names without dashes in front (`student-weights = "none"`), paths in it are relative to
the file (of a profile, a template set, a start and a teacher too, where these are given by path). Defaults that depend
on the board (student, input size, budgets) stay None here and come from the profile.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_args, get_type_hints

from .errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - Python 3.10 (JetPack 6)
    import tomli as tomllib

DEFAULT_TEACHER = "ViT-B-16/datacomp_xl_s13b_b90k"
ONE_OF = {
    "teacher_dtype": ("auto", "float32", "bfloat16"),
    "student_dtype": ("auto", "float32", "bfloat16"),
    "train_on": ("auto", "cpu", "cuda"),
    "prompt_weights": ("W1", "W3", "W3-pool"),
    "method": ("prg", "kd", "embedding"),
    "view_targets": ("match", "mean", "blend"),
}
TEMPLATE_SETS = ("general", "imagenet", "cifar")
AT_LEAST = {
    "views": 1,
    "seeds": 1,
    "epochs": 1,
    "batch": 2,
    "input_size": 32,
    "threads": 1,
    "seed": 0,
    "latency_budget": 0.0,
    "memory_budget": 0.0,
    "agreement_min": 0.0,
    "accuracy_drop_max": 0.0,
}
AT_MOST = {"agreement_min": 1.0, "accuracy_drop_max": 1.0, "input_size": 1024, "views": 64}


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """One build, as asked for. None means "from the profile" or, for threads, "all cores"."""

    profile: str
    classes: Path
    images: Path
    check: Path | None = None
    teacher: str = DEFAULT_TEACHER
    teacher_arch: str | None = None
    teacher_preprocess: Path | None = None
    teacher_dtype: str = "auto"
    templates: str = "general"
    prompt_weights: str = "W3"
    views: int = 8
    student: str | None = None
    student_weights: str = "auto"
    student_dtype: str = "auto"
    input_size: int | None = None
    method: str = "prg"
    option: tuple[str, ...] = ()
    view_targets: str = "blend"
    epochs: int | None = None
    batch: int | None = None
    seed: int = 0
    seeds: int = 1
    train_on: str = "auto"
    threads: int | None = None
    device: str = "local"
    latency_budget: float | None = None
    memory_budget: float | None = None
    agreement_min: float | None = None
    accuracy_drop_max: float | None = None
    work: Path = Path(".edgedistill")
    out: Path | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        for name, allowed in ONE_OF.items():
            value = getattr(self, name)
            if value not in allowed:
                raise InputError(f"{_flag(name)} is {value!r}", f"Use one of: {', '.join(allowed)}.")
        for name, least in AT_LEAST.items():
            value = getattr(self, name)
            most = AT_MOST.get(name, float("inf"))
            if value is not None and not least <= value <= most:
                upper = f" and at most {most:g}" if name in AT_MOST else ""
                raise InputError(f"{_flag(name)} is {value}", f"It must be at least {least:g}{upper}.")

    @property
    def bundle(self) -> Path:
        """Where the bundle goes: --out, else ./<labels stem>-<profile>/."""
        return self.out or Path(f"{self.classes.stem}-{Path(self.profile).stem}")


def resolve(flags: Mapping[str, Any], config: Path | None, environ: Mapping[str, str]) -> BuildSettings:
    """Merge what was given: `flags` (only those that were set) over `config` over EDGEDISTILL_TEACHER over defaults.

    Raises InputError for an unknown or mistyped key, and for a missing required one.
    """
    values: dict[str, Any] = {}
    if environ.get("EDGEDISTILL_TEACHER"):
        values["teacher"] = environ["EDGEDISTILL_TEACHER"]
    if config is not None:
        values |= read_config(config)
    values |= flags
    for name in ("profile", "classes"):
        if name not in values:
            raise InputError(f"{_flag(name)} is missing", f"Give {_flag(name)}, or set {name} in build.toml.")
    if "images" not in values:
        raise InputError(
            "--images is missing, and building without photos is not part of this version",
            "Point --images at a folder of unlabelled photos (200 or more; camera frames are fine).",
        )
    return BuildSettings(**values)


def read_config(path: Path) -> dict[str, Any]:
    """build.toml as a dict of BuildSettings fields. Raises InputError naming the file, the key, its nearest match."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"no config file at {path}", "Check the path given with --config.") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} is not readable TOML: {error}", "Correct that line.") from error
    types = get_type_hints(BuildSettings)
    values: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in types:
            known = [field.name.replace("_", "-") for field in dataclasses.fields(BuildSettings)]
            near = get_close_matches(key, known, n=1)
            raise InputError(
                f"{path}: unknown key {key!r}",
                f"Did you mean {near[0]!r}?" if near else f"Known keys: {', '.join(known)}.",
            )
        values[name] = _located(path.parent, name, _typed(path, key, value, types[name]))
    return values


def _located(folder: Path, name: str, value: Any) -> Any:
    """`value` with what may be a name or a path, and is a path, seen from `folder`."""
    if name == "teacher":
        prefix, colon, place = value.partition("local-dir:")
        if colon and not prefix:
            return f"local-dir:{folder / place}"
        return str(folder / value) if (folder / value).exists() else value
    is_path = {
        "profile": lambda: "/" in value or value.endswith(".toml"),
        "templates": lambda: value not in TEMPLATE_SETS,
        "student_weights": lambda: value not in ("auto", "none"),
    }
    return str(folder / value) if name in is_path and is_path[name]() else value


def _typed(path: Path, key: str, value: Any, expected: Any) -> Any:
    wanted = [kind for kind in (get_args(expected) or (expected,)) if kind is not type(None) and kind is not ...]
    if expected == tuple[str, ...]:
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return tuple(value)
        raise InputError(f"{path}: {key} must be a list of strings, got {value!r}", 'Write it like ["name=value"].')
    if Path in wanted and isinstance(value, str):
        return path.parent / value
    if float in wanted and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if any(type(value) is kind for kind in wanted):
        return value
    names = " or ".join(kind.__name__ for kind in wanted)
    raise InputError(f"{path}: {key} must be {names}, got {value!r}", "Correct that line.")


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
