"""The bundle: complete, self-describing, the same bytes for the same build, and careful with what lies in its way."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_bundle

from edgedistill.bundle.write import check_destination, write_bundle
from edgedistill.distil.student_files import load_student
from edgedistill.errors import EdgeDistillError, InputError
from edgedistill.export.models import TOLERANCE
from edgedistill.targets.errors import TargetError
from edgedistill.targets.manifest import read_manifest
from edgedistill.targets.ort import Session
from edgedistill.targets.preprocess import decode, to_pixels


def tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("out") / "parts-cpu", tiny_bundle.parts())


def test_it_holds_what_the_contract_names(bundle: Path) -> None:
    names = set(tree(bundle))
    assert names >= {
        "manifest.json",
        "MODEL_CARD.md",
        "run.py",
        "golden.npz",
        "student.safetensors",
        "student.json",
        "class_vectors.safetensors",
        "models/fp32.onnx",
        "models/fp16.onnx",
        "check/images.npy",
        "check/teacher.npy",
        "check/teacher_class.npy",
        "check/labels.npy",
        "check/check.json",
        "targets/__init__.py",
        "targets/run.py",
        "targets/ort.py",
        "targets/trt.py",
    }
    assert not {name for name in names if "__pycache__" in name or name.startswith((".", "verdict", "engines"))}
    manifest = read_manifest(bundle)  # every hash
    assert set(manifest.data["files"]) == names - {"manifest.json"}
    assert manifest.labels == list(tiny_bundle.FOUR_CLASSES)
    assert manifest.precisions == ["fp32", "fp16"]
    assert manifest.data["not_built"] == [{"precision": "int8", "reason": "there are no photos to calibrate on"}]
    assert manifest.data["profile"] == json.loads(json.dumps(tiny_bundle.profile().to_json()))
    assert manifest.batch == (1, 1)


def test_nothing_is_left_beside_it(bundle: Path) -> None:
    assert [path.name for path in bundle.parent.iterdir()] == ["parts-cpu"]


def test_what_a_killed_write_left_beside_it_goes(tmp_path: Path) -> None:
    first = write_bundle(tmp_path / "mine", tiny_bundle.parts())
    (first / "verdict.json").write_text("measured")
    for name in (".mine.abcd_123.part", ".mine.abcd_124.old"):  # killed before and between the two renames
        (tmp_path / name).mkdir()
    first.rename(tmp_path / ".mine.abcd_124.old" / "mine")
    others = {".mine.backup.part", ".mine.abcd_12.part", ".yours.abcd_123.part", "mine.abcd_123.part"}
    for name in others:
        (tmp_path / name).mkdir()
    write_bundle(tmp_path / "mine", tiny_bundle.parts())
    assert {path.name for path in tmp_path.iterdir()} == others | {"mine"}
    assert (tmp_path / "mine" / "verdict.json").read_text() == "measured"  # the same build: its bundle came back


def test_the_same_build_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    again = write_bundle(tmp_path / "elsewhere", tiny_bundle.parts())
    assert tree(again) == tree(bundle)


def test_the_manifest_holds_no_path_of_the_machine(bundle: Path) -> None:
    text = (bundle / "manifest.json").read_text()
    assert str(bundle.parent) not in text
    assert str(Path.home()) not in text


def test_golden_images_give_the_golden_pixels_and_answers(bundle: Path) -> None:
    with np.load(bundle / "golden.npz", allow_pickle=False) as stored:
        golden = dict(stored)
    offsets = golden["offsets"]
    assert (golden["bytes"].dtype, offsets.dtype, len(offsets)) == (np.uint8, np.int64, 9)
    files = [golden["bytes"][start:end].tobytes() for start, end in itertools.pairwise(offsets)]
    decoded = np.stack([to_pixels(decode(data), tiny_bundle.SIZE) for data in files])
    assert np.abs(decoded.astype(int) - golden["pixels"]).max() <= 2
    for precision in ("fp32", "fp16"):
        session = Session(bundle / f"models/{precision}.onnx", threads=1)
        answers = session.run(golden["pixels"]).probabilities
        np.testing.assert_allclose(answers, golden["probabilities"], atol=TOLERANCE[precision])


def test_the_student_in_it_is_the_student_that_was_exported(bundle: Path) -> None:
    teacher = tiny_bundle.TEACHER
    student, kept = load_student(bundle, dim=teacher.dim, teacher_hash=teacher.hash, size=tiny_bundle.SIZE)
    assert kept
    expected = tiny_bundle.student().state_dict()
    assert all((value == expected[name]).all() for name, value in student.state_dict().items())


def test_the_model_card_names_classes_teacher_and_licences(bundle: Path) -> None:
    card = (bundle / "MODEL_CARD.md").read_text()
    for words in (
        *tiny_bundle.FOUR_CLASSES,
        "local-dir:teacher",
        "MIT",
        "from scratch",
        "none needed",
        "Not built: int8",
    ):
        assert words in card


def test_an_older_bundle_is_replaced_whole(tmp_path: Path) -> None:
    out = write_bundle(tmp_path / "out", tiny_bundle.parts())
    (out / "verdict.json").write_text("{}")
    (out / "engines").mkdir()
    changed = tiny_bundle.parts(build_id="d" * 64)
    write_bundle(out, changed)
    assert read_manifest(out).build_id == "d" * 64
    assert not (out / "verdict.json").exists()
    assert not (out / "engines").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_identical_bundle_keeps_what_was_measured_in_it(tmp_path: Path) -> None:
    out = write_bundle(tmp_path / "out", tiny_bundle.parts())
    (out / "verdict.json").write_text("{}")
    write_bundle(out, tiny_bundle.parts())
    assert (out / "verdict.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_damaged_bundle_of_the_same_build_is_made_good(tmp_path: Path) -> None:
    out = write_bundle(tmp_path / "out", tiny_bundle.parts())
    (out / "models/fp32.onnx").write_bytes(b"damaged")
    write_bundle(out, tiny_bundle.parts())
    read_manifest(out)


def test_files_that_are_no_bundle_are_never_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "photos"
    precious.mkdir()
    (precious / "one.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="not a bundle"):
        check_destination(precious)
    with pytest.raises(InputError):
        write_bundle(precious, tiny_bundle.parts())
    assert (precious / "one.jpg").read_bytes() == b"x"
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_file_or_a_link_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for name in ("file", "link"):
        with pytest.raises(InputError, match="not a folder"):
            check_destination(tmp_path / name)


def test_a_place_that_cannot_be_written_is_said_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        check_destination(tmp_path / "file" / "deep" / "bundle")


def test_an_empty_folder_and_a_new_path_may_be_written(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    check_destination(tmp_path / "empty")
    check_destination(tmp_path / "not" / "there")
    write_bundle(tmp_path / "empty", tiny_bundle.parts())
    read_manifest(tmp_path / "empty")


def test_a_failed_write_leaves_the_old_bundle_and_no_remains(tmp_path: Path) -> None:
    out = write_bundle(tmp_path / "out", tiny_bundle.parts())
    before = tree(out)
    with pytest.raises(FileNotFoundError):
        write_bundle(out, tiny_bundle.parts(build_id="d" * 64, student_folder=tmp_path / "missing"))
    assert tree(out) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_golden_files_without_reference_answers_are_our_bug(tmp_path: Path) -> None:
    content = tiny_bundle.parts()
    answers = {name: values[:3] for name, values in content.exports.reference.items()}
    short = replace(content.exports, answers={"fp32": answers})
    with pytest.raises(EdgeDistillError, match="golden"):
        write_bundle(tmp_path / "out", replace(content, exports=short))


def test_a_changed_file_is_noticed_when_it_is_read(tmp_path: Path) -> None:
    out = write_bundle(tmp_path / "out", tiny_bundle.parts())
    labels = out / "check/labels.npy"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x07")
    with pytest.raises(TargetError, match=r"labels\.npy"):
        read_manifest(out)


def test_its_program_runs_without_edgedistill_and_torch(bundle: Path, tmp_path: Path) -> None:
    probe = (
        "import runpy, sys; sys.argv = ['run.py', 'predict', '--help']\n"
        "try: runpy.run_path('run.py', run_name='__main__')\n"
        "except SystemExit as end: code = end.code\n"
        "heavy = {'torch', 'edgedistill', 'PIL', 'onnx'} & set(sys.modules)\n"
        "print(code, sorted(heavy))"
    )
    ran = subprocess.run([sys.executable, "-c", probe], cwd=bundle, capture_output=True, text=True, check=True)
    assert ran.stdout.strip().endswith("0 []")


def test_the_umask_decides_who_may_read_it(tmp_path: Path) -> None:
    modes = []
    for umask in (0o027, 0o002):
        before = os.umask(umask)
        try:
            out = write_bundle(tmp_path / f"{umask:o}", tiny_bundle.parts())
        finally:
            os.umask(before)
        modes.append([path.stat().st_mode & 0o777 for path in (out, out / "models", out / "manifest.json")])
    assert modes == [[0o750, 0o750, 0o640], [0o775, 0o775, 0o664]]
