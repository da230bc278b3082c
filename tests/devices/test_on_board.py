"""A tree is brought file by file and appears whole; what was cut is gone on with. No board is needed for this."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

import pytest

from edgedistill.devices.on_board import Gone, Refused, Tree, Wire, ending

ONE, TWO = {"manifest.json": b"1", "models/a": b"a" * 1000, "b": b"b"}, {"manifest.json": b"2", "models/a": b"a" * 1000}
KEPT = "engines"


def sums(files: dict[str, bytes]) -> dict[str, str]:
    return {name: sha256(content).hexdigest() for name, content in files.items()}


def tree(folder: Path) -> Tree:
    return Tree(folder, "it", "manifest.json")


def bring(folder: Path, files: dict[str, bytes]) -> list[str]:
    """All of it; what had to be sent."""
    one = tree(folder)
    missing = one.missing(sums(files))
    for name in missing:
        one.receive(name, sums(files)[name], [files[name]])
    one.publish(sums(files), KEPT)
    return missing


def held(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_only_what_changed_is_sent_and_what_is_no_longer_in_it_goes(tmp_path: Path) -> None:
    assert bring(tmp_path, ONE) == list(ONE)
    assert held(tmp_path / "it") == ONE
    assert bring(tmp_path, ONE) == []
    assert bring(tmp_path, TWO) == ["manifest.json"]
    assert held(tmp_path / "it") == TWO
    assert [path.name for path in tmp_path.iterdir()] == ["it"]


def test_engines_stay_and_results_of_another_bundle_go(tmp_path: Path) -> None:
    bring(tmp_path, ONE)
    for name in ("engines/fp16.engine", "results/fp32.json"):
        (tmp_path / "it" / name).parent.mkdir()
        (tmp_path / "it" / name).write_bytes(b"of the board")
    bring(tmp_path, ONE)
    assert (tmp_path / "it/results/fp32.json").is_file()  # nothing changed, nothing was touched
    bring(tmp_path, TWO)
    assert held(tmp_path / "it") == {**TWO, "engines/fp16.engine": b"of the board"}


def test_a_file_that_was_damaged_there_is_sent_again(tmp_path: Path) -> None:
    bring(tmp_path, ONE)
    (tmp_path / "it/models/a").write_bytes(b"b" * 1000)
    assert bring(tmp_path, ONE) == ["models/a"]
    assert held(tmp_path / "it") == ONE


def test_until_all_is_there_nothing_is_and_the_next_copy_goes_on(tmp_path: Path) -> None:
    cut = tree(tmp_path)
    cut.missing(sums(ONE))
    cut.receive("models/a", sums(ONE)["models/a"], [ONE["models/a"]])
    (tmp_path / ".it.partial/.b.part").write_bytes(b"half of")  # as a power cut leaves it
    assert not (tmp_path / "it").exists()
    assert bring(tmp_path, ONE) == ["manifest.json", "b"]
    assert held(tmp_path) == {f"it/{name}": content for name, content in ONE.items()}


def test_a_swap_that_was_cut_is_undone(tmp_path: Path) -> None:
    bring(tmp_path, ONE)
    (tmp_path / "it").rename(tmp_path / ".it.old")  # the power went between the two renames
    assert bring(tmp_path, ONE) == []
    assert held(tmp_path / "it") == ONE


def test_content_that_is_not_what_was_promised_is_not_kept(tmp_path: Path) -> None:
    one = tree(tmp_path)
    with pytest.raises(Refused, match="changed"):
        one.receive("b", sums(ONE)["b"], [b"c"])
    assert held(tmp_path) == {}


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_not_ours_is_not_replaced(tmp_path: Path, kind: str) -> None:
    place = tmp_path / "it"
    if kind == "file":
        place.write_bytes(b"a letter")
    elif kind == "folder":
        place.mkdir()
        (place / "letter").write_bytes(b"a letter")
    else:
        place.symlink_to("elsewhere")
    with pytest.raises(Refused, match="strange"):
        tree(tmp_path).missing(sums(ONE))
    assert os.path.lexists(place)


def test_a_file_system_without_links_gets_copies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("no links on this one")  # as vfat says

    monkeypatch.setattr(os, "link", refuse)
    bring(tmp_path, ONE)
    bring(tmp_path, TWO)
    assert held(tmp_path / "it") == TWO


def test_a_workshop_that_is_silent_for_long_is_gone() -> None:
    source, sink = os.pipe()
    wire = Wire(source, 1, 0.1)
    os.write(sink, b'\n\n{"do": "x"}\n\n')
    assert wire.message() == {"do": "x"}
    began = time.monotonic()
    with pytest.raises(Gone):
        wire.message()
    assert time.monotonic() - began < 5
    with pytest.raises(Gone):
        wire.check(False)
    os.write(sink, b"\n")
    wire.check(True)
    wire.check(False)
    os.close(sink)
    with pytest.raises(Gone):
        wire.check(True)


def test_it_needs_nothing_that_a_bare_python_lacks() -> None:
    from edgedistill.devices import on_board

    program = f"exec(compile(open({on_board.__file__!r}).read(), 'x', 'exec'), {{}})"
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True)


def test_how_a_process_ended_is_said_by_name() -> None:
    assert (ending(1), ending(-4), ending(-999)) == ("exit code 1", "SIGILL", "signal 999")
