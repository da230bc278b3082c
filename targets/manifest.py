"""Reads and checks a bundle: every path stays inside it, every hash is right, the format is one we know.

Nothing in a bundle is trusted before it is checked, and nothing in it is executed.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from .atomic import sha256_file
from .errors import TargetError
from .limits import BUDGET, OPTIONAL, PROFILE, Range
from .names import OPTIMISATIONS, PRECISIONS
from .outside import LARGE, SMALL, Limits, Unfit, as_object, parse_json, read_bytes
from .printable import line

FORMAT = 1
LONGEST = 300  # characters of a value that an error shows
MOST_TOLERANCE = 0.25  # of a probability: what int8 is allowed (edgedistill/export/models.py)
MOST_BYTES = 10**12  # that a model may be said to hold
REBUILD = "Build the bundle again, or copy it again from where it was built."

T = TypeVar("T")


@dataclass(frozen=True)
class Manifest:
    """manifest.json of a bundle. `data` is the whole of it; the properties are the parts a device needs."""

    path: Path  # the bundle's folder
    sha256: str  # of manifest.json itself
    data: dict[str, Any]

    @property
    def build_id(self) -> str:
        return self.data["build_id"]

    @property
    def labels(self) -> list[str]:
        """Class names, in the order of the model's outputs."""
        return [label["name"] for label in self.data["labels"]]

    @property
    def size(self) -> int:
        """Side of the model's square input, in pixels."""
        return self.data["preprocessing"]["size"]

    @property
    def batch(self) -> tuple[int, int]:
        """Smallest and largest batch the graphs take."""
        return self.data["batch"]["min"], self.data["batch"]["max"]

    @property
    def profile(self) -> dict[str, Any]:
        """The profile the bundle was built for, with every default filled in."""
        return self.data["profile"]

    @property
    def golden_pixel_tolerance(self) -> int:
        """How far (of 255) pixels decoded here may be from the golden ones: JPEG decoders round differently."""
        return self.data["golden"]["pixel_tolerance"]

    @property
    def models(self) -> list[dict[str, Any]]:
        """One entry a precision: file, precision, bytes, parity, golden_tolerance."""
        return self.data["models"]

    @property
    def precisions(self) -> list[str]:
        return [model["precision"] for model in self.models]

    def model(self, precision: str) -> dict[str, Any]:
        """The entry of one precision. TargetError names those there are."""
        for model in self.models:
            if model["precision"] == precision:
                return model
        raise TargetError(
            f"{self.path} holds no {precision} model", f"It holds {', '.join(self.precisions)}: name one of these."
        )

    def place(self, name: str) -> Path:
        """The path of what the manifest does not list: results, engines, a verdict. TargetError where it is a link that
        leaves the bundle: whoever made the bundle does not choose what else is read or written."""
        _check_path(self.path, name)
        return self.path / name

    def listed(self, name: str) -> Path:
        """The path of a file that the manifest lists with its hash; TargetError where it does not."""
        if name not in self.data["files"]:
            raise TargetError(f"{self.path / 'manifest.json'} does not list {name}", REBUILD)
        return self.path / name

    def file(self, name: str) -> Path:
        """The path of a file listed in the manifest, with its hash checked now."""
        path = self.listed(name)
        _check_file(self.path, name, self.data["files"][name])
        return path


def read_manifest(bundle: str | Path, check_hashes: bool = True) -> Manifest:
    """The manifest of a bundle folder, checked.

    `check_hashes=False` checks the manifest alone; `Manifest.file` then checks each file that is really opened.
    Raises TargetError for: no bundle, a format of another version, a path that leaves the bundle, a file that is
    missing or has another content.
    """
    folder = Path(bundle)
    path = folder / "manifest.json"
    try:
        if not folder.is_dir() or not path.is_file():
            raise TargetError(f"{folder} is not a bundle: it has no manifest.json", "Name the folder `build` wrote.")
    except OSError as error:
        raise TargetError(f"cannot read {path}: {error.strerror}", "Check the path and its permissions.") from error
    raw, data = _object_in(path, LARGE)
    _check_data(data, path)
    manifest = Manifest(path=folder, sha256=hashlib.sha256(raw).hexdigest(), data=data)
    for name in data["files"]:
        _check_path(folder, name)
    if check_hashes:
        for name, digest in data["files"].items():
            _check_file(folder, name, digest)
    return manifest


def selected_precision(manifest: Manifest) -> str:
    """The precision in use: verdict.json's `selected` when it was measured for this very build, else fp32."""
    selected = _verdict(manifest).get("selected")
    return selected if selected in manifest.precisions else "fp32"


def selected_runtime(manifest: Manifest) -> str | None:
    """The runtime that `selected_precision` was measured under; None where nothing was measured of this build."""
    return _table(_measured(manifest), "runtime").get("name")


def selected_threads(manifest: Manifest, device: str, choices: Sequence[int]) -> int | None:
    """The threads that `selected_runtime` was measured with, where that was on a machine of this name and size.

    choices: what a trial would compare here (thread_trial.py). One that compared others ran on another machine, or in
    another container. None there, and where a verdict does not tell.
    """
    verdict = _measured(manifest)
    runtime = _table(verdict, "runtime")
    threads, tried = runtime.get("threads"), runtime.get("threads_tried")
    same = tried is None or (isinstance(tried, dict) and set(tried) == set(map(str, choices)))
    if type(threads) is not int or _table(verdict, "device").get("name") != device or not same:
        return None
    return threads if 1 <= threads <= max(choices) else None


def _measured(manifest: Manifest) -> dict[str, Any]:
    """verdict.json where it tells of a measurement of this build, else {}."""
    verdict = _verdict(manifest)
    return {} if verdict.get("verdict") == "unmeasured" else verdict


def _verdict(manifest: Manifest) -> dict[str, Any]:
    """verdict.json where it is about this very build, else {}."""
    path = manifest.place("verdict.json")
    verdict = read_json(path) if path.is_file() else {}
    return verdict if verdict.get("build_id") == manifest.build_id else {}


def _table(content: dict[str, Any], name: str) -> dict[str, Any]:
    value = content.get(name)
    return value if isinstance(value, dict) else {}


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. TargetError when it cannot be read, is oversized, or is no object."""
    return _object_in(path, SMALL)[1]


def _object_in(path: Path, limits: Limits) -> tuple[bytes, dict[str, Any]]:
    """(the bytes of a JSON file, the object in it). TargetError as `read_json`."""
    try:
        raw = read_bytes(path, limits.size)
        return raw, as_object(parse_json(raw, limits))
    except OSError as error:
        raise TargetError(f"cannot read {path}: {error.strerror}", "Check the path and its permissions.") from error
    except Unfit as error:
        raise TargetError(f"{path} {error}", REBUILD) from error


def _check_data(data: dict[str, Any], path: Path) -> None:
    """The keys a device relies on, with their types; everything else in the manifest is left alone."""
    if data.get("format") != FORMAT:
        raise TargetError(
            f"{path} has format {_shown(data.get('format'))}; this version reads format {FORMAT}",
            "Read it with the edgedistill that made it, or build it again with this one.",
        )
    _need(data, "build_id", str, path)
    labels = _need(data, "labels", list, path)
    if len(labels) < 2:
        raise TargetError(f"{path} names {len(labels)} classes, a classifier has at least 2", REBUILD)
    names = [_need(label, "name", str, path) for label in labels]
    if not all(name.strip() for name in names):
        raise TargetError(f"{path} names a class without a name, the labels need one each", REBUILD)
    if len(set(names)) < len(names):
        twice = Counter(names).most_common(1)[0][0]
        raise TargetError(f"{path} names the class {_shown(twice)} twice, each has to be another", REBUILD)
    preprocessing = _need(data, "preprocessing", dict, path)
    for key, known in (("layout", "NHWC"), ("dtype", "uint8"), ("channels", "RGB")):
        if _need(preprocessing, key, str, path) != known:
            raise TargetError(f"{path}: preprocessing.{key} is {_shown(preprocessing[key])}, not {known!r}", REBUILD)
    _need_within(data, "preprocessing.size", Range(16, 4096, whole=True), path)
    batch = _need(data, "batch", dict, path)
    if not 1 <= _need(batch, "min", int, path) <= _need(batch, "max", int, path):
        raise TargetError(f"{path}: batch is {_shown(batch)}, not 1 or more from min to max", REBUILD)
    _check_profile(data, path)
    if data.get("budget") is not None:  # the workshop's: a device decides nothing
        for key, range in BUDGET.items():
            if _has(data, f"budget.{key}"):
                _need_within(data, f"budget.{key}", range, path)
    _need_within(data, "golden.pixel_tolerance", Range(0, 255, whole=True), path)
    files = _need(data, "files", dict, path)
    for name, digest in files.items():
        if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
            raise TargetError(f"{path}: the hash of {_shown(name)} is no SHA-256", REBUILD)
    _check_models(data, path)


def _check_models(data: dict[str, Any], path: Path) -> None:
    """A precision becomes part of a file's name, so that no other word may be one."""
    files, precisions = data["files"], set[str]()
    for index, model in enumerate(_need(data, "models", list, path)):
        where = f"{path}: models[{index}]"
        precision = _need(model, "precision", str, where)
        if precision not in PRECISIONS:
            wanted = f"one of {', '.join(PRECISIONS)}"
            raise TargetError(f"{path} names a model in precision {_shown(precision)}, not {wanted}", REBUILD)
        if precision in precisions:
            raise TargetError(f"{path} names two models in precision {precision}, a bundle has one of each", REBUILD)
        precisions.add(precision)
        if _need(model, "file", str, where) not in files:
            raise TargetError(f"{path} names the model {_shown(model['file'])} without a hash", REBUILD)
        _need_within(model, "bytes", Range(1, MOST_BYTES, whole=True), where)
        _need(model, "golden_tolerance", float, where)
        _need_within(model, "golden_tolerance", Range(0, MOST_TOLERANCE), where)
    if "fp32" not in precisions:
        raise TargetError(f"{path} names no fp32 model", REBUILD)


def _check_profile(data: dict[str, Any], path: Path) -> None:
    """What is read of the profile where a bundle is measured or used; the rest is for the workshop and for people."""
    for key in ("identify", "runtime", "model", "measure"):
        _need(data, f"profile.{key}", dict, path)
    for key in ("name", "title", "runtime.reference"):
        _need(data, f"profile.{key}", str, path)
    for key in ("runtime.prefer", "model.precisions"):
        if not _need_strings(data, f"profile.{key}", path):
            raise TargetError(f"{path}: profile.{key} is empty", REBUILD)
    for key in ("engine", "onnxruntime", "budget"):
        if data["profile"].get(key) is not None:
            _need(data, f"profile.{key}", dict, path)
    for key, range in PROFILE.items():
        if key.startswith(("runtime.", "measure.")) or _has(data, f"profile.{key}"):
            _need_within(data, f"profile.{key}", range, path)
    for key, range in OPTIONAL.items():
        if _at(data, f"profile.{key}") is not None:
            _need_within(data, f"profile.{key}", range, path)
    key = "profile.onnxruntime.optimisation"
    if _has(data, key) and _at(data, key) not in OPTIMISATIONS:
        wanted = f"one of {', '.join(OPTIMISATIONS)}"
        raise TargetError(f"{path}: {key} is {_shown(_at(data, key))}, not {wanted}", REBUILD)
    for key in ("compatible", "not_compatible", "model", "machine", "cpu_model", "cpu_flags"):
        if _at(data, f"profile.identify.{key}") is not None:
            _need_strings(data, f"profile.identify.{key}", path)
    own = ("onnxruntime.arena", "onnxruntime.spin", "onnxruntime.io_binding")
    for key in ("runtime.cuda_graph", "identify.gpu", *own):
        value = _at(data, f"profile.{key}")
        if _has(data, f"profile.{key}") and not isinstance(value, bool):
            raise TargetError(f"{path}: profile.{key} is {_shown(value)}, not true or false", REBUILD)
    key = "profile.identify.min_compute_capability"
    if _at(data, key) is not None and not re.fullmatch(r"\d+\.\d+", _need(data, key, str, path), re.ASCII):
        raise TargetError(f"{path}: {key} is {_shown(_at(data, key))}, not as in 8.7", REBUILD)


def _need_within(table: Any, key: str, range: Range, path: Path | str) -> None:
    """A number that is not outside of its range."""
    if not range.holds(_need(table, key, int if range.whole else (int, float), path)):
        raise TargetError(f"{path}: {key} is {_shown(_at(table, key))}, not {range.words}", REBUILD)


def _need_strings(data: dict[str, Any], key: str, path: Path) -> list[str]:
    value = _need(data, key, list, path)
    if not all(isinstance(item, str) for item in value):
        raise TargetError(f"{path}: {key} is {_shown(value)}, not a list of strings", REBUILD)
    return value


def _at(table: Any, key: str) -> Any:
    """The value at a dotted key, None where any part of the way is missing."""
    for part in key.split("."):
        table = table.get(part) if isinstance(table, dict) else None
    return table


def _need(table: Any, key: str, kind: type[T] | tuple[type[T], ...], path: Path | str) -> T:
    """The value of `table` at `key` (dotted: of a table in it), which has to be a `kind`."""
    value = _at(table, key)
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = "number" if isinstance(kind, tuple) else "whole number" if kind is int else kind.__name__
        raise TargetError(f"{path}: {key} is {_shown(value)}, not a {wanted}", REBUILD)
    return value


def _has(table: Any, key: str) -> bool:
    """Whether a dotted key is there, null or not."""
    above, _, last = key.rpartition(".")
    return last in (_at(table, above) or ())


def _shown(value: Any) -> str:
    """As an error shows what a manifest holds."""
    return line(repr(value), LONGEST)


def _check_path(folder: Path, name: str) -> None:
    """A listed name is a plain relative path, and following links does not lead out of the bundle."""
    parts = PurePosixPath(name).parts
    plain = bool(parts) and not name.startswith("/") and ".." not in parts and "\\" not in name and "\0" not in name
    if not plain or ":" in parts[0]:
        raise TargetError(
            f"{folder / 'manifest.json'} names {_shown(name)}, which is not a path inside the bundle", REBUILD
        )
    try:
        inside = (folder / name).resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError) as error:  # a loop of links
        raise TargetError(f"cannot follow {folder / name}: {error}", REBUILD) from error
    if not inside:
        raise TargetError(f"{folder / name} is a link that leaves the bundle", REBUILD)


def _check_file(folder: Path, name: str, digest: str) -> None:
    path = folder / name
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise TargetError(f"{path} is not a regular file", REBUILD)
        found = sha256_file(path)
    except FileNotFoundError as error:
        raise TargetError(f"{path} is missing", REBUILD) from error
    except OSError as error:
        raise TargetError(f"cannot read {path}: {error.strerror}", "Check its permissions, or copy again.") from error
    if found != digest:
        raise TargetError(f"{path} is not the file that was built (its SHA-256 differs)", REBUILD)
