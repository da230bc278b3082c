"""A stage is a function of its inputs: done when its folder is there, resumable until then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgedistill.errors import InputError
from edgedistill.work.seal import INPUTS, SUMS
from edgedistill.work.stage import SCRATCH, Stage, WorkFolder


def test_a_stage_appears_only_when_it_is_finished(tmp_path: Path) -> None:
    stage = WorkFolder(tmp_path).stage("store", {"seed": 0}, version=1)
    folder = stage.begin()
    (folder / "block-0").write_text("half the work")
    assert not stage.done
    stage.finish()
    assert stage.done
    assert (stage.path / "block-0").read_text() == "half the work"


def test_an_interrupted_stage_finds_what_it_left(tmp_path: Path) -> None:
    (WorkFolder(tmp_path).stage("store", {"seed": 0}, version=1).begin() / "block-0").write_text("kept")
    again = WorkFolder(tmp_path).stage("store", {"seed": 0}, version=1)
    assert (again.begin() / "block-0").read_text() == "kept"


def test_other_inputs_are_another_stage(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    work.stage("store", {"seed": 0}, version=1).begin()
    work.stage("store", {"seed": 0}, version=1).finish()
    assert not work.stage("store", {"seed": 1}, version=1).done
    assert not work.stage("text", {"seed": 0}, version=1).done
    assert work.stage("store", {"seed": 0}, version=1).done


def test_a_stage_of_another_version_is_not_taken_for_ours(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    work.stage("store", {"seed": 0}, version=1).begin()
    work.stage("store", {"seed": 0}, version=1).finish()
    assert not work.stage("store", {"seed": 0}, version=2).done
    assert not work.stage("store", {"seed": 0}, version=2).partial.exists()


def test_a_timed_choice_is_made_once(tmp_path: Path) -> None:
    choices = iter([("bfloat16", "2.1x faster"), ("float32", "now it is slower")])
    first = WorkFolder(tmp_path).decision("dtype", {"teacher": "a"}, lambda: next(choices))
    again = WorkFolder(tmp_path).decision("dtype", {"teacher": "a"}, lambda: next(choices))
    assert first == again == ("bfloat16", "2.1x faster")


@pytest.mark.parametrize(
    "content", [b"", b'{"value": "bfl', b"\xff\xfe", b"[]", b'{"value": 4, "reason": "", "inputs": {}}']
)
def test_a_damaged_choice_is_made_again(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    work = WorkFolder(tmp_path)
    work.decision("dtype", {}, lambda: ("bfloat16", "2.1x faster"), kind=str)
    (file,) = (tmp_path / "decisions").iterdir()
    whole = file.read_bytes()
    file.write_bytes(content)
    assert work.decision("dtype", {}, lambda: ("bfloat16", "2.1x faster"), kind=str) == ("bfloat16", "2.1x faster")
    assert file.read_bytes() == whole
    assert "the choice is made again" in caplog.text


def test_a_choice_that_did_not_work_is_not_kept(tmp_path: Path) -> None:
    def broken() -> tuple[str, str]:
        raise InputError("the weights are damaged", "Fetch them again.")

    with pytest.raises(InputError, match="damaged"):
        WorkFolder(tmp_path).decision("start", {}, broken)
    assert list(tmp_path.rglob("*")) == []


def test_a_work_folder_that_cannot_be_written_is_said_in_two_lines(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write the work folder"):
        WorkFolder(tmp_path / "file" / "work")


def test_two_builds_never_work_in_one_folder(tmp_path: Path) -> None:
    with (
        WorkFolder(tmp_path).locked(),
        pytest.raises(InputError, match="another build is at work"),
        WorkFolder(tmp_path).locked(),
    ):
        pass
    with WorkFolder(tmp_path).locked():
        pass  # free again


def test_what_a_killed_build_left_of_its_scratch_goes(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path)
    left = tmp_path / f"{SCRATCH}killed"
    left.mkdir()
    (left / "fp32.onnx").write_bytes(b"half")
    kept = work.stage("store", {}, version=1).begin()
    with work.locked(), work.scratch() as folder:
        assert folder.parent == tmp_path
    assert not folder.exists()
    assert not left.exists()
    assert kept.is_dir()


def finished(work: WorkFolder, **files: str) -> Stage:
    """A finished stage with these files, sealed."""
    stage = work.stage("distil", {"seed": 0}, version=1)
    for name, text in files.items():
        (stage.begin() / name).write_text(text)
    stage.finish()
    return stage


def flip_a_bit(path: Path, at: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", ["bit", "cut", "gone", "sums", "no sums", "inputs"])
def test_a_stage_that_is_not_as_it_was_sealed_is_made_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage = finished(WorkFolder(tmp_path), weights="12345", card="6789")
    assert stage.ready()
    file = stage.path / {"sums": SUMS, "no sums": SUMS, "inputs": INPUTS}.get(damage, "weights")
    if damage in ("gone", "no sums"):
        file.unlink()
    elif damage == "cut":
        file.write_text("123")
    else:
        flip_a_bit(file, at=10 if damage == "sums" else 0)
    assert not stage.ready()
    assert (stage.done, stage.partial.exists()) == (False, False), "nothing of it is gone on with"
    assert f"{stage.path} is damaged" in caplog.text
    assert "it is made again" in caplog.text
    assert finished(WorkFolder(tmp_path), weights="12345", card="6789").ready()


def test_what_was_not_sealed_damages_no_stage(tmp_path: Path) -> None:
    stage = finished(WorkFolder(tmp_path), weights="12345")
    (stage.path / ".DS_Store").write_text("a file manager was here")
    assert stage.ready()


def test_a_link_is_sealed_by_where_it_points(tmp_path: Path) -> None:
    stage = WorkFolder(tmp_path / "work").stage("together", {}, version=1)
    target = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    target.mkdir()
    (stage.begin() / "photos").symlink_to(target)
    stage.finish()
    (target / "new.jpg").write_text("photos come and go")
    assert stage.ready()
    (stage.path / "photos").unlink()
    (stage.path / "photos").symlink_to(tmp_path)
    assert not stage.ready()


def test_files_with_sums_of_their_own_are_not_summed_twice(tmp_path: Path) -> None:
    stage = WorkFolder(tmp_path).stage("store", {}, version=1)
    (stage.begin() / "pixels").write_text("many gigabytes")
    stage.finish(apart=["pixels"])
    assert stage.sum_of("pixels") == ""
    flip_a_bit(stage.path / "pixels")
    assert stage.ready()


def test_a_stage_may_keep_what_is_sound(tmp_path: Path) -> None:
    stage = finished(WorkFolder(tmp_path), one="1", two="2")
    flip_a_bit(stage.path / "two")
    assert not stage.ready(lambda folder, wrong: [(folder / name).unlink() for name in wrong])
    assert not stage.done
    assert [path.name for path in (stage.begin() / name for name in ("one", "two")) if path.is_file()] == ["one"]


def test_a_choice_that_changed_by_one_bit_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    work = WorkFolder(tmp_path)
    work.decision("epochs", {}, lambda: (20, "measured"), kind=int)
    (file,) = (tmp_path / "decisions").iterdir()
    file.write_text(file.read_text().replace('"value": 20', '"value": 21'))
    assert work.decision("epochs", {}, lambda: (20, "measured"), kind=int) == (20, "measured")
    assert "its sum is another one" in caplog.text


@pytest.mark.parametrize("name", ["student.json", "pixels.u8"])
def test_a_pipe_in_place_of_a_file_is_damage_and_no_wait(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    stage = WorkFolder(tmp_path).stage("distil", {}, version=1)
    for file in ("student.json", "pixels.u8"):
        (stage.begin() / file).write_text("whole")
    stage.finish(apart=["pixels.u8"])
    assert stage.ready()
    (stage.path / name).unlink()
    os.mkfifo(stage.path / name)
    assert not stage.ready(repair=lambda folder, wrong: None)
    assert f"{name} is not as it was written" in caplog.text
    assert not (stage.partial / name).exists()


def test_a_pipe_in_an_unfinished_stage_is_cleared(tmp_path: Path) -> None:
    stage = WorkFolder(tmp_path).stage("distil", {}, version=1)
    os.mkfifo(stage.begin() / "journal")
    assert not list(stage.begin().iterdir())


def test_a_pipe_for_a_lock_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".lock")
    with pytest.raises(InputError, match="cannot write the work folder"), WorkFolder(tmp_path).locked():
        pass
