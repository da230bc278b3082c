"""From class names alone to a bundle, and with a few photos: the step before the line, and what becomes of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_build import settings, write_profile
from tiny_images import FOUR_CLASSES, write_check, write_photos

import edgedistill
from edgedistill.bundle.destination_lock import destination_lock
from edgedistill.distil import stages as distil_stages
from edgedistill.distil import student_start
from edgedistill.distil.stages import Start, move_batchnorm_to_photos
from edgedistill.errors import InputError
from edgedistill.images.pool import scan
from edgedistill.images.synthetic import RECORD, SHEET
from edgedistill.line import at_work, build
from edgedistill.no_photos import STUDENT, first_rows, memory_of, start_of
from edgedistill.request import Request
from edgedistill.settings import BuildSettings, SynthesizeSettings
from edgedistill.synthesis.objective import BatchNormStatistics
from edgedistill.teacher.in_use import TeacherInUse
from edgedistill.teacher.names import find_teacher
from edgedistill.verdict.verdict import Verdict, read_verdict
from edgedistill.verdict.words import notes
from edgedistill.work.stage import WorkFolder

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = {"per_class": 6, "image_size": 32}


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """labels.txt of four classes, and a profile that is quick."""
    folder = tmp_path_factory.mktemp("names")
    (folder / "labels.txt").write_text("\n".join(FOUR_CLASSES) + "\n")
    write_profile(folder / "quick.toml")
    return folder


@pytest.fixture(scope="module")
def built(names: Path, tiny_teacher_folder: Path) -> Verdict:
    return build(without_photos(names, tiny_teacher_folder))


def without_photos(folder: Path, teacher: Path, **changed: Any) -> BuildSettings:
    return settings(folder, teacher, **{"images": None, "check": None, "epochs": 1, **SMALL} | changed)


def stage(folder: Path, name: str) -> Path:
    (found,) = (folder / "work").glob(f"{name}-*")
    return found


def test_class_names_alone_end_in_a_bundle_that_says_what_it_was_checked_on(built: Verdict, names: Path) -> None:
    assert built.check.synthetic
    assert built.check.source == "synthetic images"
    assert notes(built)[0].startswith("Checked on synthetic images only: how well the student does on photos")
    assert read_verdict(names / "bundle").check == built.check
    record = json.loads((stage(names, "synthetic") / RECORD).read_text())
    assert {image["class"] for image in record["images"] if image["kept"]} == set(FOUR_CLASSES)
    assert record["engine"]["engine"] == "teacher"


def test_images_that_were_made_are_taught_by_the_method_for_them(
    built: Verdict, names: Path, tiny_teacher_folder: Path
) -> None:
    made, photos = stage(names, "synthetic"), write_photos(names / "photos-alone", 12)
    asked = {"none": {}, "made": {"images": made}, "photos": {"images": photos}, "told": {"method": "kd"}}
    asked["few"] = {"images": photos, "synthesize": True}
    sizes = {"per_class": None, "image_size": None}  # say how images are made, and are refused where none are
    found = {
        name: Request.read(without_photos(names, tiny_teacher_folder, **(sizes | own))).method.name
        for name, own in asked.items()
    }
    assert found == {"none": "data-free", "made": "data-free", "photos": "prg", "told": "kd", "few": "data-free"}


def test_photos_to_check_on_make_it_a_verdict_on_photos(built: Verdict, names: Path, tiny_teacher_folder: Path) -> None:
    check = write_check(names / "photos-to-check", 12, classes=FOUR_CLASSES)
    with at_work(without_photos(names, tiny_teacher_folder, check=check)) as line:
        images = line.gather()
    assert (len(images.check), images.source, images.synthetic_check) == (12, "--check", False)
    assert images.made is not None
    assert images.made.among(images.train.hashes).all()


def test_the_store_knows_what_each_image_was_made_for_and_how_much_it_counts(
    built: Verdict, names: Path, tiny_teacher_folder: Path
) -> None:
    with at_work(without_photos(names, tiny_teacher_folder)) as line:
        images = line.gather()
        store = line.store(images).train
    assert store.facts is not None
    assert len(store.facts.weight) == len(store) == len(images.train)
    assert set(store.facts.prompt_class) <= set(range(4))
    assert ((store.facts.weight > 0) & (store.facts.weight <= 1)).all()


def test_few_photos_are_joined_by_images_of_the_classes_they_lack(
    names: Path, tiny_teacher_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    photos = write_photos(names / "few", 24, classes=FOUR_CLASSES[:3])
    asked = without_photos(names, tiny_teacher_folder, images=photos, synthesize=True, work=names / "few-work")
    with at_work(asked) as line:
        images = line.gather()
    record = json.loads(next((names / "few-work").glob("synthetic-*/" + RECORD)).read_text())
    made = [image["class"] for image in record["images"]]
    assert made.count(FOUR_CLASSES[3]) == 6  # the teacher saw no photo of it, and at least eight of the others
    assert set(made) == {FOUR_CLASSES[3]}
    real = images.made.among(np.concatenate([images.train.hashes, images.check.hashes]))
    assert (~real).sum() == 24
    assert images.source in ("photos and synthetic images", "pool split")


def test_photos_beside_what_was_made_move_statistics_where_it_is_asked_for(
    built: Verdict,
    names: Path,
    tiny_teacher_folder: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(Start, "knows_teacher", True)
    made, photos = stage(names, "synthetic"), write_photos(names / "beside", 12, classes=FOUR_CLASSES)
    both = names / "both"
    both.mkdir()
    for folder in (made, photos):
        (both / folder.name).symlink_to(folder)
    own = {"per_class": None, "image_size": None, "method": "data-free", "student_weights": str(EXAMPLES / "start")}
    own["option"] = ("photos_prior=16",)
    asked = without_photos(names, tiny_teacher_folder, **own, student=None, images=both, work=names / "both-work")
    with at_work(asked) as line:
        bank, images = line.text(), line.gather()
        stores = line.store(images)
        line.free_teacher()
        kept = line.training_rows(images, stores)
        classes = line.classes(bank, images, stores, kept)
        lesson = line._lesson(stores, kept, bank, classes)
        config = line._settled(0, lesson, stores)
        before, after = (line.start.untrained(0)[0] for _ in range(2))
        move_batchnorm_to_photos(after, lesson, config)
    assert line.config(0, len(lesson.rows)).interpolation < 1
    assert config.interpolation == 1  # what photos teach is not held back
    assert "BatchNorm's statistics moved towards those of" in caplog.text
    mine, theirs = dict(before.backbone.named_buffers()), dict(after.backbone.named_buffers())
    assert all(not torch.equal(mine[name], theirs[name]) for name in mine if name.endswith("running_mean"))


STRANGE = ("六角ナット", "🔩", "Größe 8 mm", "qzxv-0017/b", "a" * 80, "Гайка", "ball (bearing)", "=1+1", "صامولة")


@pytest.mark.slow
def test_three_hundred_classes_with_names_that_no_tokenizer_knows(tiny_teacher_folder: Path, tmp_path: Path) -> None:
    classes = [*STRANGE, *(f"part no. {k}" for k in range(300 - len(STRANGE)))]
    (tmp_path / "labels.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
    write_profile(tmp_path / "quick.toml")
    build(without_photos(tmp_path, tiny_teacher_folder, per_class=1))
    record = json.loads((stage(tmp_path, "synthetic") / RECORD).read_text(encoding="utf-8"))
    assert {image["class"] for image in record["images"]} == set(classes)
    assert len(record["images"]) == 300
    assert len(read_verdict(tmp_path / "bundle").check.source) > 0


def test_with_photos_enough_nothing_is_made(
    names: Path, tiny_teacher_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    photos = write_photos(names / "enough", 48, classes=FOUR_CLASSES)
    asked = without_photos(names, tiny_teacher_folder, images=photos, synthesize=True, work=names / "enough-work")
    with at_work(asked) as line:
        assert line.gather().made is None
    assert "no images are made: of every class there are" in caplog.text


def test_synthesize_writes_a_folder_to_look_at_and_never_over_one(names: Path, tiny_teacher_folder: Path) -> None:
    generated = write_check(names / "generated", 16, classes=FOUR_CLASSES)
    asked = {"classes": names / "labels.txt", "teacher": f"local-dir:{tiny_teacher_folder}", "threads": 1}
    asked |= {"teacher_dtype": "float32", "generated": generated, "work": names / "synthesize-work"}
    folder = edgedistill.synthesize(**asked, out=names / "made")
    assert {path.name for path in folder.iterdir()} == {*FOUR_CLASSES, RECORD, SHEET}
    pruned = next((folder / FOUR_CLASSES[0]).iterdir())
    pruned.unlink()
    before = len(scan(folder))
    with pytest.raises(InputError, match=r"made holds files already\nChoose another --out"):
        edgedistill.synthesize(**asked, out=names / "made")
    assert len(scan(folder)) == before
    with pytest.raises(InputError, match="out is missing"):
        edgedistill.synthesize(classes=names / "labels.txt")
    with destination_lock(names / "other"), pytest.raises(InputError, match=r"writes to .*other"):
        edgedistill.synthesize(**asked, out=names / "other")


def test_generated_images_are_as_many_as_are_asked_for(
    names: Path, tiny_teacher_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    generated = write_check(names / "many", 24, classes=FOUR_CLASSES)
    asked = {"classes": names / "labels.txt", "teacher": f"local-dir:{tiny_teacher_folder}", "threads": 1}
    asked |= {"teacher_dtype": "float32", "generated": generated, "work": names / "many-work", "per_class": 2}
    folder = edgedistill.synthesize(**asked, out=names / "two a class")
    record = json.loads((folder / RECORD).read_text())
    assert [image["class"] for image in record["images"]] == [name for name in FOUR_CLASSES for _ in range(2)]
    assert f"look at them: {names / 'two a class'}" in caplog.messages


def test_generated_images_beside_photos_are_those_of_classes_with_few(names: Path, tiny_teacher_folder: Path) -> None:
    photos = write_photos(names / "of three", 24, classes=FOUR_CLASSES[:3])
    asked = without_photos(
        names, tiny_teacher_folder, images=photos, synthesize=True, work=names / "beside-work", image_size=None
    )
    generated = write_check(names / "of four", 24, classes=FOUR_CLASSES)
    with at_work(replace(asked, generated=generated)) as line:
        line.gather()
    record = json.loads(next((names / "beside-work").glob("synthetic-*/" + RECORD)).read_text())
    assert {image["class"] for image in record["images"]} == {FOUR_CLASSES[3]}
    with (
        at_work(replace(asked, generated=write_check(names / "of two", 12, classes=FOUR_CLASSES[:2]))) as line,
        pytest.raises(InputError, match=r"no image in .* is of a class that has few photos\nAdd such images"),
    ):
        line.gather()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"generated": "nowhere"}, "the image folder nowhere does not exist"),
        ({"engine": "diffusers", "engine_model": "nowhere"}, "nowhere|diffusers"),
        ({"engine_model": "local-dir:nowhere"}, "nowhere"),
    ],
)
def test_what_makes_images_is_looked_for_before_the_teacher_works(
    wrong: dict[str, Any], told: str, names: Path, tiny_teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_early(*_: Any) -> Any:
        raise AssertionError("the teacher was loaded")

    monkeypatch.setattr(TeacherInUse, "load", too_early)
    asked = without_photos(names, tiny_teacher_folder, work=names / "early-work", image_size=None, **wrong)
    with pytest.raises(InputError, match=told), at_work(asked) as line:
        line.text()
    alone = {"classes": names / "labels.txt", "teacher": f"local-dir:{tiny_teacher_folder}", "out": names / "early"}
    with pytest.raises(InputError, match=told):
        edgedistill.synthesize(**alone, **wrong, work=names / "early-work")


@pytest.mark.parametrize("asked", [{}, {"student": "resnet18"}, {"student_weights": "none", "student": "resnet18"}])
def test_images_made_alone_get_the_statistics_of_the_start_that_a_build_would_have(
    asked: dict[str, str], names: Path, tiny_teacher_folder: Path
) -> None:
    teacher = find_teacher(f"local-dir:{tiny_teacher_folder}")
    work = WorkFolder(names / f"start-work-{len(asked)}")
    given = SynthesizeSettings(classes=names / "labels.txt", out=names / "none", **asked)
    start = start_of(given, teacher, work)
    assert start is not None
    assert start.plan.name == asked.get("student", STUDENT)
    with_photos = BuildSettings(profile="cpu", classes=names / "labels.txt", **asked)
    if with_photos.student_weights == "auto":
        assert start.plan.key == distil_stages.student_start(work, asked.get("student", STUDENT), 128).key


def test_a_start_that_nothing_reads_is_refused_and_none_is_looked_for(names: Path, tiny_teacher_folder: Path) -> None:
    alone: dict[str, Any] = {"classes": names / "labels.txt", "out": names / "none", "generated": names}
    with pytest.raises(InputError, match=r"--student says which .* with --generated it makes none\nLeave one"):
        SynthesizeSettings(**alone, student="resnet18")
    teacher = find_teacher(f"local-dir:{tiny_teacher_folder}")
    assert start_of(SynthesizeSettings(**alone), teacher, WorkFolder(names / "no-start-work")) is None


def test_the_command_prints_the_folder_on_stdout(names: Path, tiny_teacher_folder: Path, tmp_path: Path) -> None:
    generated = write_check(tmp_path / "generated", 16, classes=FOUR_CLASSES)
    command = [Path(sys.executable).parent / "edgedistill", "synthesize", "--classes", names / "labels.txt"]
    command += ["--generated", generated, "--teacher", f"local-dir:{tiny_teacher_folder}", "--out", tmp_path / "made"]
    command += ["--work", tmp_path / "work", "--teacher-dtype", "float32", "--threads", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'made'}\n"
    assert "images stay" in done.stderr


@pytest.mark.parametrize(
    ("labels", "said"),
    [("red disc\n", "names 1 class: a classifier needs two or more"), ("", "names 0 classes")],
)
def test_one_class_is_refused_before_any_work(labels: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text(labels)
    with pytest.raises(InputError, match=said):
        edgedistill.synthesize(classes=tmp_path / "labels.txt", out=tmp_path / "made", work=tmp_path / "work")
    assert not (tmp_path / "work").exists()


def test_a_start_that_saw_photos_remembers_them_and_a_fresh_one_does_not() -> None:
    def remembered(weights: str) -> BatchNormStatistics | None:
        planned = student_start.plan(None, weights, "mobilenetv3_small_050", 32)
        return memory_of(Start(planned, 32, "0" * 64, 32), "cpu").open()

    memory = remembered(str(EXAMPLES / "start"))
    assert memory is not None
    grey = memory.distance(torch.full((2, 3, 32, 32), 0.5))
    assert torch.isfinite(grey)
    assert grey > 0
    assert remembered("none") is None


def test_the_first_rows_of_each_class_are_taken_class_after_class() -> None:
    rows = first_rows(np.array([0, 1, 2, 0, 1, 2, 0, 1, 2]), np.array([2, 0, 1]))
    assert rows.tolist() == [0, 3, 2]
