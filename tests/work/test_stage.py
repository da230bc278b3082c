"""A stage is a function of its inputs: done when its folder is there, resumable until then."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgedistill.errors import InputError
from edgedistill.work.stage import SCRATCH, WorkFolder


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
    with WorkFolder(tmp_path).locked(), pytest.raises(InputError, match="another build is at work"), (
        WorkFolder(tmp_path).locked()
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
