"""What a build was asked for: flags over build.toml over environment over defaults, merged and checked once.

Keys of build.toml are the flag names without dashes in front (`student-weights = "none"`), paths in it are relative to
the file (of a profile, a template set, a start, a teacher and a device too, where these are given by path). Defaults
that depend on the board (student, input size, budgets) stay None here and come from the profile.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from . import records
from .choices import (
    DEFAULT_TEACHER,
    TEMPLATE_SETS,
    WITH_WORDS,
    Diversify,
    Dtype,
    EngineName,
    FewShotTune,
    Mode,
    Precision,
    PromptWeights,
    Qat,
    Refinement,
    SelectBy,
    TeacherDtype,
    TrainOn,
    ViewTargets,
)
from .distil.methods import METHODS
from .errors import InputError
from .targets.outside import Unfit
from .toml_file import read_toml

RANGES = {
    "per_class": (1, 100_000),
    "image_size": (16, 2048),
    "views": (1, 64),
    "mix": (0, 64),
    "seeds": (1, None),
    "epochs": (1, None),
    "patience": (1.0, None),
    "batch": (2, None),
    "input_size": (32, 1024),
    "threads": (1, None),
    "seed": (0, None),
    "latency_budget": (0.0, None),
    "memory_budget": (0.0, None),
    "agreement_min": (0.0, 1.0),
    "accuracy_drop_max": (0.0, 1.0),
}
"""Name -> the least and the most that it may be."""


@dataclass(frozen=True, kw_only=True)
class SynthesizeSettings:
    """Images from class names, as asked for: the first half of a build without photos, alone.

    None means a default of the engine; for student and its weights those of a build whose profile asks for
    mobilenetv3_small_100; for threads "all cores". Types and errors as of BuildSettings.
    """

    classes: Path
    out: Path
    teacher: str = DEFAULT_TEACHER
    teacher_arch: str | None = None
    teacher_preprocess: Path | None = None
    teacher_dtype: TeacherDtype = "auto"
    templates: str = "general"
    engine: EngineName | None = None
    engine_model: str | None = None
    generated: Path | None = None
    diversify: Diversify | None = None
    per_class: int | None = None
    image_size: int | None = None
    student: str | None = None
    student_weights: str | None = None
    seed: int = 0
    train_on: TrainOn = "auto"
    threads: int | None = None
    work: Path = Path(".edgedistill")

    def __post_init__(self) -> None:
        _conform(self, "synthesize")
        check_synthesis(self)
        self._check_student()

    def _check_student(self) -> None:
        given = [_flag(name) for name in ("student", "student_weights") if getattr(self, name) is not None]
        other = ["--generated"] * (self.generated is not None) + ["--engine diffusers"] * (self.engine == "diffusers")
        if given and other:
            raise InputError(
                f"{given[0]} says which statistics the teacher's images get, and with {other[0]} it makes none",
                "Leave one of the two out.",
            )


@dataclass(frozen=True, kw_only=True)
class BuildSettings:
    """One build, as asked for. None means "from the profile"; for images "made from the class names"; for threads "all
    cores"; for method "prg", or of images that were made "data-free" (request.py); for select "all photos"; for view
    targets "as the method trains"; for views, epochs and batch a default, from the method, the number of images or the
    time that training may take.

    A path may be given as a string, a name that may be a path as a Path, a float as an int. Raises InputError for any
    other type, a word that is not on its list, a number out of its range, and for two that exclude each other.
    """

    profile: str
    classes: Path
    images: Path | None = None
    check: Path | None = None
    synthesize: bool = False
    engine: EngineName | None = None
    engine_model: str | None = None
    generated: Path | None = None
    diversify: Diversify | None = None
    per_class: int | None = None
    image_size: int | None = None
    select: float | None = None
    select_by: SelectBy | None = None
    teacher: str = DEFAULT_TEACHER
    teacher_arch: str | None = None
    teacher_preprocess: Path | None = None
    teacher_dtype: TeacherDtype = "auto"
    templates: str = "general"
    prompt_weights: PromptWeights = "zero-shot"
    refine: Refinement = "auto"
    views: int | None = None
    mix: int = 0
    few_shot: Path | None = None
    few_shot_tune: FewShotTune = "vectors"
    student: str | None = None
    student_weights: str = "auto"
    student_dtype: Dtype = "auto"
    input_size: int | None = None
    method: str | None = None
    option: tuple[str, ...] = ()
    view_targets: ViewTargets | None = None
    epochs: int | None = None
    patience: float | None = None
    time: str | None = None
    batch: int | None = None
    seed: int = 0
    seeds: int = 1
    train_on: TrainOn = "auto"
    threads: int | None = None
    precision: Precision = "auto"
    qat: Qat = "auto"
    device: str = "local"
    mode: Mode = "full"
    latency_budget: float | None = None
    memory_budget: float | None = None
    agreement_min: float | None = None
    accuracy_drop_max: float | None = None
    work: Path = Path(".edgedistill")
    out: Path | None = None
    strict: bool = False

    def __post_init__(self) -> None:
        _conform(self, "build")
        self._check_select()
        if self.synthesizes:
            check_synthesis(self)
        else:
            self._refuse_synthesis()
        if self.time is not None:
            seconds_of(self.time)
        for one, other in EXCLUDE_EACH_OTHER:
            if getattr(self, one) is not None and getattr(self, other) is not None:
                raise InputError(
                    f"both {_flag(one)} and {_flag(other)} say how long to train", "Give one of them, not both."
                )

    @property
    def synthesizes(self) -> bool:
        """Whether images are made from class names: in place of photos, or beside a few."""
        return self.images is None or self.synthesize

    def _refuse_synthesis(self) -> None:
        given = [_flag(name) for name in SYNTHESIS if getattr(self, name) is not None]
        if given:
            raise InputError(
                f"{given[0]} says how images are made, and there are photos in --images",
                "Leave --images out, or add --synthesize: then images are made for the classes with few photos.",
            )

    @property
    def seconds(self) -> float | None:
        """--time in seconds."""
        return None if self.time is None else seconds_of(self.time)

    def _check_select(self) -> None:
        amount = self.select
        if amount is None:
            if self.select_by is not None:
                raise InputError(
                    f"--select-by is {self.select_by}, but --select is missing",
                    "Give --select a number of photos or a share of them; with 1 the rule alone decides.",
                )
        elif not (0 < amount <= 1 or (amount > 1 and amount.is_integer())):
            raise InputError(
                f"--select is {amount:g}", "It must be a share above 0 and at most 1, or a whole number of photos."
            )

    @property
    def bundle(self) -> Path:
        """Where the bundle goes: --out, else ./<labels stem>-<profile>/."""
        return self.out or Path(f"{self.classes.stem}-{Path(self.profile).stem}")


def _conform(asked: SynthesizeSettings | BuildSettings, command: str) -> None:
    """Bring the fields into their types. Raises InputError for a type, a word or a number that cannot be."""
    for name, hint in get_type_hints(type(asked)).items():
        _refuse_nul(_flag(name), getattr(asked, name))
        object.__setattr__(asked, name, _path_or_text(name, hint, getattr(asked, name)))
    for name, allowed in ONE_OF.items():
        value = getattr(asked, name, None)
        if value is not None and value not in tuple(allowed):
            raise InputError(f"{_flag(name)} is {value!r}", f"Use one of: {', '.join(allowed)}.")
    records.conform(asked, command)
    for name, (least, most) in RANGES.items():
        value = getattr(asked, name, None)
        if value is not None and not least <= value <= (most or value):
            upper = f" and at most {most:g}" if most else ""
            raise InputError(f"{_flag(name)} is {value}", f"It must be at least {least:g}{upper}.")


SYNTHESIS = ("engine", "engine_model", "generated", "diversify", "per_class", "image_size")
"""What says how images are made from class names."""


def check_synthesis(asked: SynthesizeSettings | BuildSettings) -> None:
    """Raises InputError where what says how images are made does not fit together."""
    if asked.engine == "diffusers" and asked.engine_model is None:
        raise InputError(
            "--engine diffusers needs a pipeline",
            "Give --engine-model with a hub id or a folder; --engine teacher needs none.",
        )
    if asked.engine == "diffusers" and asked.diversify not in (None, *WITH_WORDS):
        raise InputError(
            f"--diversify {asked.diversify} makes directions in the teacher's space, and a pipeline reads words",
            f"Use one with words ({', '.join(WITH_WORDS)}), or --engine teacher.",
        )
    makes = [_flag(name) for name in ("engine", "engine_model", "diversify") if getattr(asked, name) is not None]
    if asked.generated is not None and makes:
        raise InputError(
            f"--generated brings images, and {makes[0]} says how to make some", "Leave one of the two out."
        )


EXCLUDE_EACH_OTHER = (("time", "epochs"), ("time", "patience"), ("patience", "epochs"))
"""Pairs of which at most one may be given."""

TIME_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(time: str) -> float:
    """The seconds of "90s", "10m" or "1.5h". Raises InputError for any other text, and for no time at all."""
    number, unit = time[:-1], time[-1:]
    if unit in TIME_UNITS and re.fullmatch(r"[0-9]+(\.[0-9]+)?", number) and 0 < float(number) < 1e9:
        return float(number) * TIME_UNITS[unit]
    raise InputError(f"--time is {time!r}", "Write a number above 0 and its unit, such as 90s, 10m or 1.5h.")


ONE_OF: dict[str, Collection[str]] = {
    "method": METHODS,
    **{
        name: get_args(kind)
        for name, hint in get_type_hints(BuildSettings).items()  # those of `synthesize` are among them
        for kind in (hint, *get_args(hint))  # of an optional one, too
        if get_origin(kind) is Literal
    },
}
"""Name -> the words that it may be."""


def resolve_synthesis(flags: Mapping[str, Any], environ: Mapping[str, str]) -> SynthesizeSettings:
    """What `synthesize` was asked for: `flags` (None: not given) over EDGEDISTILL_TEACHER over defaults.

    Raises InputError for an unknown key, and for a missing required one.
    """
    _refuse_unknown(flags, [field.name for field in dataclasses.fields(SynthesizeSettings)], "synthesize")
    values: dict[str, Any] = {"teacher": environ["EDGEDISTILL_TEACHER"]} if environ.get("EDGEDISTILL_TEACHER") else {}
    values |= {name: value for name, value in flags.items() if value is not None}
    for name in ("classes", "out"):
        if name not in values:
            raise InputError(f"{_flag(name)} is missing", f"Give {_flag(name)}.")
    return SynthesizeSettings(**values)


def resolve(flags: Mapping[str, Any], config: Path | None, environ: Mapping[str, str]) -> BuildSettings:
    """Merge what was given: `flags` (None: not given) over `config` over EDGEDISTILL_TEACHER over defaults.

    Raises InputError for an unknown or mistyped key, and for a missing required one.
    """
    _refuse_unknown(flags, [field.name for field in dataclasses.fields(BuildSettings)], "build")
    values: dict[str, Any] = {}
    if environ.get("EDGEDISTILL_TEACHER"):
        values["teacher"] = environ["EDGEDISTILL_TEACHER"]
    if config is not None:
        _refuse_nul("--config", config)
        values |= read_config(Path(os.path.expanduser(config)))
    values |= {name: value for name, value in flags.items() if value is not None}
    for name in ("profile", "classes"):
        if name not in values:
            raise InputError(f"{_flag(name)} is missing", f"Give {_flag(name)}, or set {name} in build.toml.")
    return BuildSettings(**values)


def read_config(path: Path) -> dict[str, Any]:
    """build.toml as a dict of BuildSettings fields. Raises InputError naming the file, the key, its nearest match."""
    try:
        table = read_toml(path)
    except FileNotFoundError as error:
        raise InputError(f"no config file at {path}", "Check the path given with --config.") from error
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", "Check the path given with --config.") from error
    except Unfit as error:
        raise InputError(f"{path} {error}", "Correct it: its keys are the flags of `build`.") from error
    hints = get_type_hints(BuildSettings)
    _refuse_unknown(table, [name.replace("_", "-") for name in hints], str(path))
    return {
        name: _located(path.parent, name, _typed(path, key, value, hints[name]))
        for key, value in table.items()
        for name in [key.replace("-", "_")]
    }


def _refuse_unknown(given: Mapping[str, Any], known: list[str], where: str) -> None:
    for key in given:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            todo = f"Did you mean {near[0]!r}?" if near else f"Known keys: {', '.join(known)}."
            raise InputError(f"{where}: unknown key {key!r}", todo)


def _refuse_nul(where: str, value: Any) -> None:
    """No name of a file holds a NUL, which Python says by a ValueError wherever it meets one."""
    if isinstance(value, (list, tuple)):
        for one in value:
            _refuse_nul(where, one)
    elif "\0" in (os.fsdecode(value) if isinstance(value, (str, os.PathLike)) else ""):
        raise InputError(f"{where} is {os.fsdecode(value)!r}, with a NUL in it", "Delete that character.")


def _typed(path: Path, key: str, value: Any, hint: Any) -> Any:
    """A value of build.toml as its field has it; a path is seen from the file."""
    _refuse_nul(f"{path}: {key}", value)
    if Path in (hint, *get_args(hint)):
        return path.parent / os.path.expanduser(records.value_of(str, value, str(path), key))
    return records.value_of(hint, value, str(path), key)


def _located(folder: Path, name: str, value: Any) -> Any:
    """`value` with what may be a name or a path, and is a path, seen from `folder`."""
    if isinstance(value, str):
        value = _at_home(value)
    if name in ("teacher", "student_weights"):  # those of a prompted student may be a CLIP, named as a teacher is
        prefix, colon, place = value.partition("local-dir:")
        if colon and not prefix:
            return f"local-dir:{folder / place}"
        is_name = name == "teacher" or "/" in value or value in ("auto", "none")
        return value if is_name and not (folder / value).exists() else str(folder / value)
    if name == "device":
        kind, colon, place = value.partition("folder:")
        return f"folder:{folder / place}" if colon and not kind and place else value
    is_path = {
        "profile": lambda: "/" in value or value.endswith(".toml"),
        "templates": lambda: value not in TEMPLATE_SETS,
    }
    return str(folder / value) if name in is_path and is_path[name]() else value


def _path_or_text(name: str, hint: Any, value: Any) -> Any:
    """A path given as text as a Path, text given as a path as a str; anything else as it is.

    The command line gives paths as text under some versions of its library, and Python users give either.
    """
    kinds = get_args(hint) or (hint,)
    if Path in kinds and not (value is None and type(None) in kinds):
        if not isinstance(value, (str, os.PathLike)):
            raise InputError(f"{_flag(name)} is {value!r}", "It has to be a path.")
        return Path(os.path.expanduser(value))
    if str in kinds and isinstance(value, os.PathLike):
        value = os.fspath(value)
    return _at_home(value) if name in MAY_BE_PATHS and isinstance(value, str) else value


MAY_BE_PATHS = ("profile", "templates", "teacher", "student_weights", "engine_model", "device")
"""What may be a name or a path. The environment's teacher comes this way, too."""


def _at_home(value: str) -> str:
    """A path with the home folder in place of a ~ at its beginning, where no shell put it: after a = or a :, in a file,
    from Python. Any other text as it is."""
    kind, colon, place = value.partition(":")
    if colon and f"{kind}:" in ("local-dir:", "folder:"):
        return f"{kind}:{os.path.expanduser(place)}"
    return os.path.expanduser(value)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
