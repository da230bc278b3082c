"""No key of a profile is without effect: each is read by the program, and what is called a fact is shown.

The readers are run for real (a build, `run.py verify`, the start of a TensorRT build, `profiles show`) while every
access to a profile, as dataclass or as the bundle's JSON, is noted with the module that made it.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bundles import write_bundle
from tiny_build import settings, write_profile

from edgedistill import profiles
from edgedistill.line import build
from edgedistill.profile_text import show
from edgedistill.profiles import Profile, load_profile
from edgedistill.targets import manifest, run, run_verify, runtimes, trt
from edgedistill.targets.errors import TargetError
from edgedistill.targets.manifest import read_manifest
from edgedistill.toml_file import read_toml

FACTS = ("title", "notes", "power", "stack", "plausible")  # for a person; everything else has to act
# What reads and checks a profile as a whole; being read there is no effect.
READERS = ("edgedistill.profiles", "edgedistill.records", "edgedistill.targets.manifest")
SHOWS = "edgedistill.profile_text"


def sections(cls: type = Profile, prefix: str = "") -> Iterator[tuple[type, str]]:
    """Every dataclass of a profile with the dotted way to it; a list or table of one counts once."""
    yield cls, prefix
    for name, hint in typing.get_type_hints(cls).items():
        inner = [kind for kind in (hint, *typing.get_args(hint)) if dataclasses.is_dataclass(kind)]
        for kind in inner:
            assert isinstance(kind, type)
            yield from sections(kind, f"{prefix}{name}.")


KEYS = {
    f"{prefix}{field.name}"
    for cls, prefix in sections()
    for field in dataclasses.fields(cls)
    if f"{prefix}{field.name}." not in {below for _, below in sections()}
} - {"schema"}  # the loader's own


class Noted(dict):
    """A table of a manifest that notes which module reads which key. Its copies note nothing."""

    prefix = ""

    @staticmethod
    def note(frame: types.FrameType, key: str) -> None:
        pass

    def __getitem__(self, key: str) -> Any:
        self.note(sys._getframe(1), self.prefix + key)
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[str]:  # because it is here, {**table} asks __getitem__ for each key
        return super().__iter__()

    def get(self, key: str, default: Any = None) -> Any:
        self.note(sys._getframe(1), self.prefix + key)
        return super().get(key, default)


def noted(table: dict[str, Any], note: Callable[[types.FrameType, str], None], prefix: str = "") -> Noted:
    """`table` and every table in it; the keys of "profile" are named without it."""
    copy = Noted()
    for key, value in table.items():
        below = "" if prefix + key == "profile" else f"{prefix}{key}."
        copy[key] = noted(value, note, below) if isinstance(value, dict) else value
    copy.prefix, copy.note = prefix, note  # type: ignore[method-assign]
    return copy


@pytest.fixture
def read_by(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Key -> the modules that read it so far."""
    found: dict[str, set[str]] = {key: set() for key in KEYS}

    def note(frame: types.FrameType, key: str) -> None:
        reader = str(frame.f_globals["__name__"])
        if key in found and reader.startswith("edgedistill.") and reader not in READERS:
            found[key].add(reader)

    def noting(prefix: str) -> Any:
        def access(self: object, name: str) -> Any:
            note(sys._getframe(1), prefix + name)
            return object.__getattribute__(self, name)

        return access

    for cls, prefix in sections():
        monkeypatch.setattr(cls, "__getattribute__", noting(prefix), raising=False)
    object_in = manifest._object_in

    def noted_object(*arguments: Any) -> tuple[bytes, Noted]:
        raw, table = object_in(*arguments)
        return raw, noted(table, note)

    monkeypatch.setattr(manifest, "_object_in", noted_object)
    return found


def test_every_key_of_a_profile_is_read_by_what_it_is_for(
    read_by: dict[str, set[str]],
    built_folder: Path,
    tiny_teacher_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # A build for a board that is not here: what is trained, exported, measured as a stand-in and judged.
    board = write_profile(tmp_path / "board.toml", "raspberry-pi-5")
    build(settings(built_folder, tiny_teacher_folder, profile=str(board), out=tmp_path / "bundle"))

    # A board measures: it recognises itself, chooses a runtime, keeps the times, judges the temperature.
    table = load_profile("cpu").to_json()
    table["engine"] = {"workspace_mb": 64, "free_mb": 10**9}
    table["measure"] |= {"warmup_s": 0.0, "min_s": 0.01, "min_queries": 1}
    bundle = write_bundle(tmp_path / "measured", profile=table)
    assert run.main(["verify", "--bundle", str(bundle)]) in (0, run_verify.INVALID)

    # An engine is begun; the build itself needs TensorRT, and is refused before for want of memory.
    monkeypatch.setattr(trt, "load_tensorrt", lambda: types.SimpleNamespace(__name__="tensorrt", __version__="10.3.0"))
    with pytest.raises(TargetError, match="a build here needs 1000000000 MB"):
        runtimes.open_session(read_manifest(bundle), "fp32", "tensorrt", None)

    facts = {key for key in KEYS if key.split(".")[0] in FACTS}
    assert {key: names for key, names in read_by.items() if key not in facts and not names - {SHOWS}} == {}

    show(load_profile("jetson-orin"))
    assert {key for key in facts if SHOWS not in read_by[key]} == set()
    capsys.readouterr()


def test_the_walk_knows_every_key_of_every_shipped_profile() -> None:
    def leaves(table: dict[str, Any], prefix: str = "") -> Iterator[str]:
        for name, value in table.items():
            for inner in value if name == "stack" else [value]:
                yield from leaves(inner, f"{prefix}{name}.") if isinstance(inner, dict) else [prefix + name]

    for name in profiles.list_profiles():
        for key in leaves(read_toml(profiles.FOLDER / f"{name}.toml")):
            section, *rest = key.split(".")
            known = f"plausible.{rest[1]}" if section == "plausible" else key
            assert known in KEYS | {"schema"}, f"{name}: {key}"
