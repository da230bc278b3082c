"""A device is found by the name that --device takes; a new one is a class and a line."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bundles
import loopback
import pytest
import tiny_bundle

from edgedistill.bundle.write import write_bundle
from edgedistill.devices.device import DEVICES, find_device
from edgedistill.devices.local import Local
from edgedistill.devices.measurement import FULL, Measurement
from edgedistill.errors import InputError
from edgedistill.targets.manifest import Manifest, read_manifest
from edgedistill.verdict.verify import verify
from edgedistill.work.console import SILENT, Progress

PLACES = ["local", "folder", "folder:/media/stick", "ssh://pi@board:2222/~/models"]


@pytest.mark.parametrize("name", PLACES)
def test_a_device_bears_the_name_it_is_found_by(name: str) -> None:
    assert find_device(name).name == name


@pytest.mark.parametrize("name", ["phone", "", "ssh:board", "Folder:/x"])
def test_an_unknown_device_is_two_lines_with_what_exists(name: str) -> None:
    with pytest.raises(InputError) as raised:
        find_device(name)
    assert repr(name) in raised.value.wrong
    assert raised.value.todo == "Use one of: local, folder, folder:PLACE, ssh://USER@BOARD."


@pytest.mark.parametrize("name", ["ssh://", "ssh://-oProxyCommand=x", "folder:"])
def test_a_device_without_its_place_is_two_lines(name: str) -> None:
    with pytest.raises(InputError):
        find_device(name)


@pytest.mark.parametrize("unstable", [True, False])
@pytest.mark.parametrize("name", PLACES)
def test_what_to_do_next_names_the_device_here_and_no_machine_in_what_ships(
    tmp_path: Path, name: str, unstable: bool
) -> None:
    manifest = read_manifest(bundles.write_bundle(tmp_path / "bundle"))
    here = find_device(name).next_steps(manifest, unstable=unstable)
    ships = "\n".join(find_device(name).anonymous().next_steps(manifest, unstable=unstable))
    assert here
    assert "stick" not in ships
    assert "board:2222" not in ships
    if name.startswith("ssh://"):
        again = f"edgedistill verify {shlex.quote(str(manifest.path))} --device {shlex.quote(name)}"
        assert (again in here) == unstable
        assert "ssh://USER@BOARD" in ships


@dataclass(frozen=True)
class Cupboard:
    """A toy device: a copy of the bundle in another folder is measured, and its results are brought back."""

    place: Path
    name: str = "cupboard"
    named: bool = False

    def check(self, profile: dict[str, Any], bundle: Path) -> None:
        assert self.place.is_dir()

    @contextmanager
    def measure(
        self, manifest: Manifest, asked: Measurement = FULL, progress: Progress = SILENT
    ) -> Iterator[list[Path]]:
        copy = shutil.copytree(manifest.path, self.place / "copy")
        with Local().measure(Manifest(copy, manifest.sha256, manifest.data), asked) as there:
            yield [Path(shutil.copy(path, self.place)) for path in there]
        shutil.copy(manifest.path / "verdict.json", copy)

    def next_steps(self, manifest: Manifest, *, unstable: bool) -> tuple[str, ...]:
        return ("# open the cupboard",)

    def anonymous(self) -> Cupboard:
        return self


def test_a_new_device_measures_and_its_results_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cupboard").mkdir()
    monkeypatch.setitem(DEVICES, "cupboard", Cupboard(tmp_path / "cupboard"))
    bundle = write_bundle(tmp_path / "bundle", tiny_bundle.parts(60))
    assert verify(bundle, find_device("cupboard"), asked=Measurement(threads=1)).verdict == "pass"
    assert (tmp_path / "cupboard/copy/verdict.json").read_bytes() == (bundle / "verdict.json").read_bytes()
    elsewhere = write_bundle(tmp_path / "other", tiny_bundle.parts(60, tiny_bundle.profile("jetson-orin")))
    shutil.rmtree(tmp_path / "cupboard" / "copy")
    verdict = verify(elsewhere, find_device("cupboard"), asked=Measurement(threads=1))
    assert (verdict.verdict, verdict.next) == ("unmeasured", ("# open the cupboard",))


@pytest.mark.skipif(loopback.why_not() is not None, reason=str(loopback.why_not()))
def test_another_board_by_ssh_is_the_wrong_one_and_what_ships_does_not_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = write_bundle(tmp_path / "bundle", tiny_bundle.parts(60, tiny_bundle.profile("raspberry-pi-5")))
    with loopback.Board(tmp_path / "board") as board:
        monkeypatch.setenv("PATH", board.environment["PATH"])
        verdict = verify(bundle, find_device(board.url), asked=Measurement(threads=1))
    assert (verdict.verdict, verdict.reasons) == ("unmeasured", ("wrong-board",))
    assert verdict.agreement is not None
    assert verdict.agreement.value == 1.0
    assert verdict.next[-1].endswith("--device ssh://USER@BOARD")
    assert "127.0.0.1" not in (bundle / "verdict.json").read_text()


def test_no_threads_asked_for_are_left_to_the_device_and_0_are_its_physical_cores() -> None:
    assert Measurement().arguments == ("--mode", "full")
    assert Measurement(threads=0).arguments == ("--mode", "full", "--threads", "0")
    assert Measurement(threads=2, mode="quick").arguments == ("--mode", "quick", "--threads", "2")
