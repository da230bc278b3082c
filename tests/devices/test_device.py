"""A device is found by the name that --device takes; a new one is a class and a line."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny_bundle

from edgedistill.bundle.write import write_bundle
from edgedistill.devices.device import DEVICES, find_device
from edgedistill.devices.local import Local
from edgedistill.errors import InputError
from edgedistill.targets.manifest import Manifest
from edgedistill.verdict.verify import verify


@pytest.mark.parametrize("name", ["local", "folder"])
def test_a_device_bears_the_name_it_is_found_by(name: str) -> None:
    assert find_device(name).name == name


@pytest.mark.parametrize("name", ["phone", "", "ssh://board"])
def test_an_unknown_device_is_two_lines_with_what_exists(name: str) -> None:
    with pytest.raises(InputError) as raised:
        find_device(name)
    assert repr(name) in raised.value.wrong
    assert raised.value.todo == "Use one of: local, folder."


@dataclass(frozen=True)
class Cupboard:
    """A toy device: a copy of the bundle in another folder is measured, and its results are brought back."""

    place: Path
    name: str = "cupboard"

    def measure(self, manifest: Manifest, threads: int | None = None) -> list[Path]:
        copy = shutil.copytree(manifest.path, self.place / "copy")
        there = Local().measure(Manifest(copy, manifest.sha256, manifest.data), threads)
        return [Path(shutil.copy(path, self.place)) for path in there]

    def next_steps(self, manifest: Manifest, *, unstable: bool) -> tuple[str, ...]:
        return ("# open the cupboard",)


def test_a_new_device_measures_and_its_results_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cupboard").mkdir()
    monkeypatch.setitem(DEVICES, "cupboard", Cupboard(tmp_path / "cupboard"))
    bundle = write_bundle(tmp_path / "bundle", tiny_bundle.parts(60))
    assert verify(bundle, find_device("cupboard"), threads=1).verdict == "pass"
    elsewhere = write_bundle(tmp_path / "other", tiny_bundle.parts(60, tiny_bundle.profile("jetson-orin")))
    shutil.rmtree(tmp_path / "cupboard" / "copy")
    verdict = verify(elsewhere, find_device("cupboard"), threads=1)
    assert (verdict.verdict, verdict.next) == ("unmeasured", ("# open the cupboard",))
