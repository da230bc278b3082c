"""The line as a whole: one call from photos to a verdict, every stage reused, nothing leaked, nothing lost."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tiny_build import CHECKS, PHOTOS, STUDENT, flags, settings, write_profile
from tiny_hub import cache_hub_weights
from tiny_images import CLASSES, FOUR_CLASSES, write_check

from edgedistill.bundle.checkset import read_check
from edgedistill.bundle.content import Trained
from edgedistill.classes.class_vectors import ClassVectors
from edgedistill.distil import loop, pace
from edgedistill.distil.gpu_run import GpuRun
from edgedistill.distil.methods.base import Recipe
from edgedistill.distil.student_start import Plan
from edgedistill.errors import InputError
from edgedistill.export import int8
from edgedistill.images.pool import scan
from edgedistill.line import Line, at_work, build
from edgedistill.settings import BuildSettings
from edgedistill.targets.manifest import read_manifest
from edgedistill.targets.preprocess import decode
from edgedistill.teacher.in_use import TeacherInUse
from edgedistill.teacher.store import TeacherStore
from edgedistill.teacher.tower import Teacher
from edgedistill.work.stage import SCRATCH, WorkFolder


@pytest.fixture(scope="module")
def inputs(built_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the built folder for this file: builds write into it."""
    return Path(shutil.copytree(built_folder, tmp_path_factory.mktemp("line") / "built"))


@pytest.fixture(scope="module")
def built(built_folder: Path) -> dict[str, Any]:
    """The verdict of the build, as it was written."""
    return json.loads((built_folder / "bundle" / "verdict.json").read_text())


def train(asked: BuildSettings) -> list[Trained]:
    """The line of a build as far as its students: no graph, no bundle, nothing measured."""
    with at_work(asked) as line:
        bank, images = line.text(), line.gather()
        stores = line.store(images)
        kept = line.training_rows(images, stores)
        classes = line.classes(bank, images, stores, kept)
        check = line.check_set(images, stores, classes)
        return [line.distil(seed, stores, kept, bank, classes, check) for seed in line.seeds]


def stages(folder: Path) -> set[str]:
    return {path.name for path in (folder / "work").iterdir() if path.name not in ("decisions", ".lock")}


def test_a_build_ends_in_a_verdict_that_anyone_can_repeat(built: dict[str, Any], inputs: Path) -> None:
    check = read_check(inputs / "bundle" / "check", len(CLASSES))
    model = onnxruntime.InferenceSession(inputs / "bundle" / "models" / "fp32.onnx")
    answers = [model.run(["probabilities"], {"image": image[None]})[0].argmax() for image in check.images]
    assert built["agreement"]["value"] == (np.array(answers) == check.teacher_class).mean()
    assert built["agreement"]["images"] == CHECKS
    assert built["accuracy"]["student"] == (np.array(answers) == check.labels).mean()


def test_the_verdict_holds_every_key_of_the_contract(built: dict[str, Any]) -> None:
    keys = (
        "schema verdict reasons profile build_id selected budget agreement accuracy latency_ms memory_mb model "
        "precision_candidates device teacher check start seeds skipped"
    )
    assert set(keys.split()) <= set(built)
    assert set(built["latency_ms"]) >= {"p50", "p95", "p99"}
    assert built["forced"] is None


def test_the_teacher_of_the_check_set_is_the_frozen_one(inputs: Path, tiny_teacher: Teacher) -> None:
    """Its features of the centre views, and the classes it chooses by the text vectors before any refinement."""
    check = read_check(inputs / "bundle" / "check", len(CLASSES))
    photos = scan(inputs / "check")  # in the order of content hashes, as the check set
    views = np.stack([tiny_teacher.centre(decode(photos.read(row))) for row in range(len(photos))])
    assert (check.teacher * tiny_teacher.encode_images(views)).sum(axis=1).min() > 0.999
    text = ClassVectors.load(inputs / "bundle").text
    assert check.teacher_class.tolist() == (check.teacher @ text.T).argmax(axis=1).tolist()
    assert (check.labels >= 0).all()
    assert (check.teacher_class == check.labels).mean() > 0.9  # the tiny teacher knows these classes


def test_the_same_command_again_runs_no_stage(
    built: dict[str, Any], inputs: Path, tiny_teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stages(inputs)
    manifest = (inputs / "bundle" / "manifest.json").read_bytes()
    monkeypatch.setattr(Teacher, "__init__", no_teacher)
    again = build(settings(inputs, tiny_teacher_folder))
    assert stages(inputs) == before
    assert (inputs / "bundle" / "manifest.json").read_bytes() == manifest
    assert again.to_json()["agreement"] == built["agreement"]


def no_teacher(*_: object, **__: object) -> None:
    raise AssertionError("the teacher was loaded although its features are stored")


def test_another_student_does_not_run_the_teacher_again(
    built: dict[str, Any], inputs: Path, tiny_teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Teacher, "__init__", no_teacher)
    before = stages(inputs)
    changed = settings(
        inputs, tiny_teacher_folder, epochs=1, method="kd", view_targets="mean",
        device="folder", out=inputs / "bundle-kd",
    )  # fmt: skip
    assert build(changed).build_id != built["build_id"]
    (trained,) = (name for name in stages(inputs) - before if name.startswith("distil-"))
    header = json.loads((inputs / "work" / trained / "metrics.jsonl").read_text().splitlines()[0])
    assert (header["method"], header["train_views"]) == ("kd", "mean")


def test_other_prompts_keep_the_stored_features(
    built: dict[str, Any], inputs: Path, tiny_teacher_folder: Path, tmp_path: Path
) -> None:
    before = stages(inputs)
    (tmp_path / "prompts.txt").write_text("a {} on a table.\nthe {}.\n")
    train(settings(inputs, tiny_teacher_folder, epochs=1, templates=str(tmp_path / "prompts.txt")))
    new = {name.partition("-")[0] for name in stages(inputs) - before}
    assert new == {"text", "distil", "answers"}


def test_another_check_set_trains_nothing_again_and_says_what_it_skips(
    built: dict[str, Any], inputs: Path, tiny_teacher_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = stages(inputs)
    photos = sorted((inputs / "check").rglob("*.jpg"))
    (tmp_path / "check").mkdir()
    for index, photo in enumerate(photos):
        shutil.copy(photo, tmp_path / "check" / f"{index}.jpg")
    (tmp_path / "check" / "cut.jpg").write_bytes(photos[0].read_bytes()[:-400])
    (tmp_path / "check" / "notes.jpg").write_text("not an image")
    with caplog.at_level("WARNING", logger="edgedistill"):
        verdict = build(
            settings(
                inputs, tiny_teacher_folder, check=tmp_path / "check", device="folder", out=inputs / "bundle-check"
            )
        )
    assert {name.partition("-")[0] for name in stages(inputs) - before} == {"store", "answers"}
    assert verdict.skipped.check == {"not an image": 1, "truncated": 1}
    assert "skipped 1 check image: truncated (cut.jpg)" in caplog.text
    assert "skipped 1 check image: not an image (notes.jpg)" in caplog.text


def test_labelled_photos_tune_what_is_baked_and_leave_the_teacher_of_the_check_set_alone(
    inputs: Path, tiny_teacher_folder: Path, tmp_path: Path
) -> None:
    before, plain = stages(inputs), read_check(inputs / "bundle" / "check", len(CLASSES))
    changed = settings(
        inputs, tiny_teacher_folder, epochs=1, method="kd", few_shot=write_check(tmp_path / "shots", 16, seed=7),
        device="folder", out=inputs / "bundle-shots",
    )  # fmt: skip
    build(changed)
    bundle = inputs / "bundle-shots"
    vectors = ClassVectors.load(bundle)
    assert np.array_equal(vectors.text, ClassVectors.load(inputs / "bundle").text)
    assert not np.array_equal(vectors.text, vectors.baked)
    model = onnx.load(bundle / "models" / "fp32.onnx")
    (head,) = (onnx.numpy_helper.to_array(one) for one in model.graph.initializer if one.name == "class_vectors")
    assert np.array_equal(head.T, vectors.baked)
    assert read_check(bundle / "check", len(CLASSES)).teacher_class.tolist() == plain.teacher_class.tolist()
    assert {name.rpartition("-")[0] for name in stages(inputs) - before} == {"store-few-shot", "distil", "answers"}
    assert json.loads((bundle / "manifest.json").read_text())["classes"]["few_shot"] == 16
    card = (bundle / "MODEL_CARD.md").read_text()
    assert "tuned on 16 labelled photos" in card
    assert "No label" not in card
    assert len(read_check(bundle / "check", len(CLASSES))) == CHECKS


def test_prompts_tuned_on_labelled_photos_fill_the_store_and_leave_the_check_set_alone(
    inputs: Path, tiny_teacher_folder: Path, tmp_path: Path
) -> None:
    before, plain = stages(inputs), read_check(inputs / "bundle" / "check", len(CLASSES))
    shots = write_check(tmp_path / "shots", 16, seed=7)
    changed = settings(
        inputs, tiny_teacher_folder, epochs=1, method="kd", few_shot=shots, few_shot_tune="prompts",
        device="folder", out=inputs / "bundle-prompted",
    )  # fmt: skip
    build(changed)
    new = {name.rpartition("-")[0]: name for name in stages(inputs) - before}
    assert set(new) == {"prompts", "store-train", "store-frozen", "distil", "answers"}
    (old,) = (name for name in before if name.startswith("store-train"))
    tuned, frozen, first = (TeacherStore.open(inputs / "work" / name) for name in (
        new["store-train"], new["store-frozen"], old
    ))  # fmt: skip
    assert np.array_equal(frozen.centre(), first.centre())
    assert 0.5 < (tuned.centre() * first.centre()).sum(1).min() < 0.9999
    vectors = ClassVectors.load(inputs / "bundle-prompted")
    assert np.array_equal(vectors.text, ClassVectors.load(inputs / "bundle").text)
    assert np.allclose(np.linalg.norm(vectors.baked, axis=1), 1, atol=1e-5)
    check = read_check(inputs / "bundle-prompted" / "check", len(CLASSES))
    assert np.array_equal(check.teacher, plain.teacher)
    assert check.teacher_class.tolist() == plain.teacher_class.tolist()
    card = (inputs / "bundle-prompted" / "MODEL_CARD.md").read_text()
    assert "prompts, and with them the class vectors, were tuned on 16" in card
    done = stages(inputs)
    build(changed)
    assert stages(inputs) == done


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"option": ("prompts=debiased",)}, "teaches what the words say"),
        ({"refine": "prototypes"}, "both move the class vectors"),
    ],
)
def test_few_shots_that_would_be_undone_are_refused(
    inputs: Path, tiny_teacher_folder: Path, asked: dict[str, Any], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        build(settings(inputs, tiny_teacher_folder, few_shot=inputs / "check", **asked))


def test_few_shots_from_the_check_set_are_refused_before_the_teacher_runs(
    inputs: Path, tiny_teacher_folder: Path
) -> None:
    before = stages(inputs)
    with pytest.raises(InputError, match=f"is also a check photo, and {CHECKS - 1} more are"):
        build(settings(inputs, tiny_teacher_folder, method="kd", views=2, few_shot=inputs / "check"))
    assert stages(inputs) == before


@pytest.mark.parametrize(
    ("version", "anew"),
    [
        ("classes.stages.TEXT", {"text"}),
        ("distil.stages.DISTIL", {"distil", "answers"}),
        ("distil.stages.ANSWERS", {"answers"}),
    ],
)
def test_a_new_version_of_one_stage_leaves_the_others(
    built: dict[str, Any],
    inputs: Path,
    tiny_teacher_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    anew: set[str],
) -> None:
    before = stages(inputs)
    shutil.copytree(inputs / "bundle", tmp_path / "bundle")  # stays as it is where its build is the same
    monkeypatch.setattr(f"edgedistill.{version}", 1_000_000)
    verdict = build(settings(inputs, tiny_teacher_folder, device="folder", out=tmp_path / "bundle"))
    new = stages(inputs) - before
    assert {name.partition("-")[0] for name in new} == anew
    assert (verdict.build_id == built["build_id"]) == ("distil" not in anew)  # what the bundle holds may be another
    for name in new:
        shutil.rmtree(inputs / "work" / name)


def test_a_new_version_of_the_store_runs_the_teacher_again_and_what_reads_it(
    inputs: Path, tiny_teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with at_work(settings(inputs, tiny_teacher_folder)) as line:
        images = line.gather()
        old = line.store(images)
        monkeypatch.setattr("edgedistill.teacher.stores.STORE", 1_000_000)
        new = line.store(images)
    assert {old.train_stage.path, old.check_stage.path}.isdisjoint({new.train_stage.path, new.check_stage.path})
    for stage in (new.train_stage, new.check_stage):
        shutil.rmtree(stage.path)


def test_true_labels_that_come_later_are_used(
    built: dict[str, Any], inputs: Path, tiny_teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same check images, once without class folders: nothing runs again, and the bundle is another one."""
    (tmp_path / "check").mkdir()
    for photo in (inputs / "check").rglob("*.jpg"):
        shutil.copy(photo, tmp_path / "check" / f"{photo.parent.name}-{photo.name}")
    before = stages(inputs)
    monkeypatch.setattr(Teacher, "__init__", no_teacher)
    blind = build(settings(inputs, tiny_teacher_folder, check=tmp_path / "check", out=inputs / "bundle-blind"))
    assert stages(inputs) == before
    assert blind.accuracy is None
    assert built["accuracy"] is not None
    assert blind.to_json()["agreement"] == built["agreement"]
    assert blind.build_id != built["build_id"]


def reasons(stage: Path) -> list[dict[str, str]]:
    """The lines of selection.csv."""
    with open(stage / "selection.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_selection_trains_on_half_of_the_photos_and_says_why(
    inputs: Path, tiny_teacher_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = stages(inputs)
    asked = settings(inputs, tiny_teacher_folder, select=0.5, epochs=1, device="folder", out=tmp_path / "bundle")
    with caplog.at_level("INFO", logger="edgedistill"):
        verdict = build(asked)
    new = {name.partition("-")[0]: inputs / "work" / name for name in stages(inputs) - before}
    assert set(new) == {"select", "distil", "answers"}

    table = reasons(new["select"])
    repeats = verdict.skipped.images["near-duplicate of a check image"]  # may not train, so they are no candidates
    assert len(table) == PHOTOS - repeats
    for row in table:
        assert hashlib.sha256((inputs / "photos" / row["file"]).read_bytes()).hexdigest() == row["content"]
    kept = [row for row in table if row["kept"] == "1"]
    assert len(kept) == round(len(table) / 2)
    assert {row["why"] for row in kept} == {"kept"}
    header = json.loads((new["distil"] / "metrics.jsonl").read_text().splitlines()[0])
    assert header["images"] == len(kept)

    assert f"selected {len(kept)} of {len(table)} photos by threshold: " in caplog.text
    for name, count in Counter(row["class"] for row in table).items():
        assert f"{name} {sum(row['class'] == name for row in kept)} of {count}" in caplog.text
    dropped = Counter(row["why"] for row in table if row["kept"] == "0")
    said = {f"not selected ({why})": count for why, count in dropped.items()}
    assert verdict.skipped.images == {"near-duplicate of a check image": repeats, **said}

    after = stages(inputs)
    assert build(asked).build_id == verdict.build_id
    assert stages(inputs) == after


def test_photos_of_nothing_on_the_list_do_not_train_where_nouns_name_them(
    inputs: Path, tiny_teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of eight kinds of photos four are classes here; the nouns are the other four."""
    others = [name for name in CLASSES if name not in FOUR_CLASSES]
    monkeypatch.setattr("edgedistill.classes.generic_nouns.GENERIC_NOUNS", others)
    (tmp_path / "labels.txt").write_text("\n".join(FOUR_CLASSES))
    before = stages(inputs)
    changed = {"classes": tmp_path / "labels.txt", "work": inputs / "work", "select": 1, "select_by": "known"}
    with at_work(settings(inputs, tiny_teacher_folder, **changed)) as line:
        bank, nouns, images = line.text(), line.nouns(), line.gather()
        stores = line.store(images)
        every = line.training_rows(images, stores)
        kept = line.select(images, stores, every, line.classes(bank, images, stores, every), nouns)
    # Photos are numbered, the kinds in turn.
    shown = [CLASSES[int(Path(images.train.name(row)).stem) % len(CLASSES)] for row in every.rows]
    listed = {row for row, name in zip(every.rows, shown) if name in FOUR_CLASSES}
    assert len(listed ^ set(kept.rows)) < 0.05 * len(every.rows)
    assert 0 < len(kept.rows) < len(every.rows)
    assert sorted(name.partition("-")[0] for name in stages(inputs) - before) == ["select", "text", "text"]


def test_a_selection_that_leaves_too_few_photos_is_two_lines(inputs: Path, tiny_teacher_folder: Path) -> None:
    asked = settings(inputs, tiny_teacher_folder, select=7, select_by="random", device="folder")
    with pytest.raises(InputError, match="7 images are left to train on"):
        build(asked)


def test_names_and_folders_of_the_photos_change_nothing(
    built: dict[str, Any], inputs: Path, tiny_teacher_folder: Path, tmp_path: Path
) -> None:
    # The photos go into class-like folders under telling names: whatever could leak is there.
    for index, photo in enumerate(sorted((inputs / "photos").iterdir())):
        name = CLASSES[index % len(CLASSES)]
        place = tmp_path / "photos" / name.replace(" ", "_")
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(photo, place / f"{PHOTOS - index:04d} {name}.jpg")
    moved = settings(
        inputs, tiny_teacher_folder, images=tmp_path / "photos", device="folder", work=tmp_path / "work",
        out=tmp_path / "bundle",
    )  # fmt: skip
    build(moved)
    assert (tmp_path / "bundle" / "manifest.json").read_bytes() == (inputs / "bundle" / "manifest.json").read_bytes()


def test_an_option_that_the_method_does_not_have_is_refused_at_once(
    inputs: Path, tiny_teacher_folder: Path, tmp_path: Path
) -> None:
    asked = settings(inputs, tiny_teacher_folder, option=("targets=zero-shot",), work=tmp_path / "work")
    with pytest.raises(InputError, match=r"prg has no option 'targets'"):
        build(asked)
    assert not (tmp_path / "work").exists()


def test_another_seed_does_not_run_the_teacher_over_the_check_set_again(
    inputs: Path, tiny_teacher_folder: Path, tmp_path: Path
) -> None:
    before = stages(inputs)
    with at_work(settings(inputs, tiny_teacher_folder, seed=5, views=1, work=inputs / "work")) as line:
        line.store(line.gather())
    assert {name.rpartition("-")[0] for name in stages(inputs) - before} == {"store-train"}


def test_headers_and_broken_photos_are_counted_together(
    inputs: Path, tiny_teacher_folder: Path, tmp_path: Path
) -> None:
    """30 of 100 photos have no header, 30 are cut: each share is under a half, both are not. No store is made of it."""
    (tmp_path / "photos").mkdir()
    for index, photo in enumerate(sorted((inputs / "photos").iterdir())[:100]):
        data = photo.read_bytes()
        data = b"no image" if index < 30 else data[: len(data) // 2] if index < 60 else data
        (tmp_path / "photos" / photo.name).write_bytes(data)
    for check in (inputs / "check", None):
        asked = settings(inputs, tiny_teacher_folder, images=tmp_path / "photos", check=check, work=tmp_path / "work")
        with pytest.raises(InputError, match=r"files in .* cannot be used: 30 not an image"), at_work(asked) as line:
            line.store(line.gather())


def test_a_gpu_that_is_lost_ends_in_two_lines_and_the_next_build_goes_on(
    inputs: Path, tiny_teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_gpu(*_: object) -> None:
        raise torch.AcceleratorError("CUDA error: unspecified launch failure\nSearch for `cudaErrorLaunchFailure'")

    before, asked = stages(inputs), settings(inputs, tiny_teacher_folder)
    with monkeypatch.context() as lost:
        lost.setattr(Line, "check_set", lose_the_gpu)
        with pytest.raises(InputError) as error:
            build(asked)
    assert error.value.wrong == "the GPU failed: CUDA error: unspecified launch failure"
    assert build(asked).agreement is not None
    assert stages(inputs) == before


def test_a_build_as_on_a_gpu_is_as_good_as_the_cpus(
    inputs: Path, built: dict[str, Any], tiny_teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Processes decode, views are cut in batches, the step has a fixed shape: all but the recording, on a CPU."""
    monkeypatch.setattr(TeacherInUse, "gpu_batch", lambda self, dtype: 64)
    monkeypatch.setattr(loop, "begin", GpuRun)
    changed = {"work": tmp_path / "work", "out": tmp_path / "out"}
    verdict = build(settings(inputs, tiny_teacher_folder, **changed))
    found, agreement = verdict.agreement, built["agreement"]
    assert found is not None
    assert found.low <= agreement["high"]
    assert found.high >= agreement["low"]
    (metrics,) = (tmp_path / "work").glob("distil-*/metrics.jsonl")
    assert "warm_up_s" in json.loads(metrics.read_text().splitlines()[1])


@pytest.fixture
def asked(inputs: Path, tiny_teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BuildSettings:
    """A build that takes what the hub's cache in `tmp_path` has; no request leaves."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return settings(inputs, tiny_teacher_folder, student_weights="auto", work=tmp_path / "work", out=tmp_path / "out")


def test_a_hub_out_of_reach_is_asked_again_and_one_that_comes_later_is_told(
    asked: BuildSettings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert [start_of(asked).source for _ in range(2)] == ["scratch"] * 2
    assert "is trained anew" not in caplog.text
    cache_hub_weights(tmp_path / "hub", STUDENT)
    found = start_of(asked)
    assert found.source == "hub"
    assert f"a student that began from scratch in {tmp_path / 'work'} is trained anew" in caplog.text
    caplog.clear()
    assert start_of(asked) == found
    assert not caplog.records
    shutil.rmtree(tmp_path / "hub")
    with pytest.raises(InputError, match="started from timm's weights, and now they cannot be had"):
        start_of(asked)


def test_damaged_weights_of_the_student_are_told_at_once_and_decide_nothing(
    asked: BuildSettings, tmp_path: Path
) -> None:
    weights, _ = cache_hub_weights(tmp_path / "hub", STUDENT)
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    with pytest.raises(InputError, match=f"{weights} is damaged") as error:
        start_of(asked)
    assert len(str(error.value).splitlines()) == 2
    assert not list((tmp_path / "work").rglob("student-start*"))
    weights.write_bytes(whole)
    assert start_of(asked).source == "hub"
    assert list((tmp_path / "work").rglob("student-start*"))


def test_whatever_was_damaged_is_made_again_and_the_bundle_is_the_same(
    built_copy: Path, tiny_teacher_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """One bit in a file of every stage, in a folder and of photos whose names are not UTF-8."""
    folder = built_copy.rename(built_copy.with_name(os.fsdecode(b"caf\xe9")))
    manifest = (folder / "bundle" / "manifest.json").read_bytes()
    shutil.rmtree(folder / "bundle")
    for photos in (folder / "photos", next((folder / "check").iterdir())):
        photo = next(photos.iterdir())
        photo.rename(photo.with_name(os.fsdecode(b"\xff") + photo.suffix))
    made = sorted(path for path in (folder / "work").iterdir() if path.name not in ("decisions", ".lock"))
    kinds = {path: path.name.rpartition("-")[0] for path in made}
    assert set(kinds.values()) == {"text", "store-train", "store-check", "distil", "answers"}
    for stage, kind in kinds.items():
        name = {"text": "bank.safetensors", "store-train": "pixels.u8", "store-check": "images.bin"}.get(kind)
        file = stage / (name or {"distil": "student.safetensors", "answers": "answers.json"}[kind])
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 4
        file.write_bytes(data)
    build(settings(folder, tiny_teacher_folder))
    assert (folder / "bundle" / "manifest.json").read_bytes() == manifest
    said = [message for message in caplog.messages if "made again" in message]
    assert all(any(f"{stage} is damaged" in message for message in said) for stage in kinds), said
    assert len(said) == len(kinds)


def start_of(asked: BuildSettings) -> Plan:
    with at_work(asked) as line:
        return line.plan


def test_seeds_are_reported_and_the_first_ships(built: dict[str, Any], inputs: Path, tiny_teacher_folder: Path) -> None:
    three = build(settings(inputs, tiny_teacher_folder, seeds=3, device="folder", out=inputs / "bundle-seeds"))
    assert three.seeds is not None
    assert [row.seed for row in three.seeds] == [0, 1, 2]
    student = "student.safetensors"
    assert (inputs / "bundle-seeds" / student).read_bytes() == (inputs / "bundle" / student).read_bytes()


def test_a_time_chooses_views_and_epochs_once_for_a_work_folder(
    inputs: Path, tiny_teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    """The measured epoch is longer than it was thought to be before there was a store, which changes no view."""
    caplog.set_level(logging.INFO, "edgedistill")
    paces = iter([pace.Pace(epoch_s=0.1, begin_s=0.0), pace.Pace(epoch_s=15.0, begin_s=0.0)])
    monkeypatch.setattr(pace, "measure", lambda *_: next(paces))
    asked = settings(
        inputs, tiny_teacher_folder, epochs=None, views=None, time="30s", work=tmp_path / "work", out=tmp_path / "out"
    )
    first, again = (train(asked)[0].stage for _ in range(2))
    (store,) = (tmp_path / "work").glob("store-train-*")
    assert TeacherStore.open(store).views == 16
    assert first == again
    assert first.inputs["config"]["epochs"] == 2
    told = [message for message in caplog.messages if message.startswith("epochs 2: 30 s were asked")]
    assert len(told) == 2  # once a build


def test_mixed_views_make_another_store_and_none_of_the_check_images(inputs: Path, tiny_teacher_folder: Path) -> None:
    before = stages(inputs)
    verdict = build(settings(inputs, tiny_teacher_folder, mix=2, device="folder", out=inputs / "bundle-mix"))
    assert verdict.agreement is not None or verdict.reasons == ("not-reached",)
    assert {name.rpartition("-")[0] for name in stages(inputs) - before} == {"store-train", "distil", "answers"}


def test_patience_multiplies_the_epochs_of_the_default_and_of_a_methods_own_recipe(
    inputs: Path, tiny_teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = settings(inputs, tiny_teacher_folder, epochs=None, patience=3, work=tmp_path / "work")
    with at_work(asked) as line:
        assert line.config(0, 1000).epochs == 180
        monkeypatch.setattr(type(line.request.method), "recipe", Recipe(epochs=7))
        assert line.config(0, 1000).epochs == 21


def test_a_time_too_short_for_an_epoch_is_told_before_the_teacher_looks_at_the_photos(
    inputs: Path, tiny_teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "measure", lambda *_: pace.Pace(epoch_s=15.0, begin_s=0.0))
    asked = settings(inputs, tiny_teacher_folder, epochs=None, views=None, time="10s", work=tmp_path / "work")
    with pytest.raises(InputError, match="one epoch takes 15 s here"), at_work(asked) as line:
        line.store(line.gather())
    assert not [*(tmp_path / "work").glob("*store*"), *(tmp_path / "work" / "decisions").glob("views*")]


def test_int8_is_one_more_candidate_made_from_photos_that_trained(
    inputs: Path, tiny_teacher_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "LEAST", 0.0)  # two epochs leave a student whose answers hardly hold
    write_profile(tmp_path / "quick.toml", precisions='["fp32", "int8"]')
    changed = {"profile": str(tmp_path / "quick.toml"), "out": tmp_path / "bundle", "qat": "never"}
    verdict = build(settings(inputs, tiny_teacher_folder, **changed))
    assert set(read_manifest(tmp_path / "bundle").precisions) == {"fp32", "int8"}
    rows = {row.precision: row for row in verdict.precision_candidates}
    made = rows["int8"].int8
    assert made is not None
    assert made.photos + made.judged <= PHOTOS
    assert rows["int8"].against_fp32 is not None
    assert verdict.selected == ("fp32" if rows["int8"].kept_back else "int8")


def test_a_precision_that_was_asked_for_is_the_one_in_use(
    inputs: Path, tiny_teacher_folder: Path, tmp_path: Path
) -> None:
    verdict = build(settings(inputs, tiny_teacher_folder, precision="fp16", out=tmp_path / "bundle"))
    assert (verdict.forced, {row.precision for row in verdict.precision_candidates}) == ("fp16", {"fp16", "fp32"})
    assert verdict.selected == "fp16"
    assert read_manifest(tmp_path / "bundle").data["forced"] == "fp16"


def test_a_board_that_is_not_here_leaves_a_bundle_and_its_commands(
    inputs: Path, tiny_teacher_folder: Path, tmp_path: Path
) -> None:
    write_profile(tmp_path / "board.toml", "jetson-orin", precisions='["fp16"]')
    verdict = build(
        settings(inputs, tiny_teacher_folder, profile=str(tmp_path / "board.toml"), out=tmp_path / "bundle", epochs=1)
    )
    assert (verdict.verdict, verdict.reasons, verdict.exit_code) == ("unmeasured", ("not-reached",), 4)
    assert verdict.agreement is not None  # by the reference runtime, under this machine's name
    assert sorted(path.name for path in (tmp_path / "bundle" / "models").iterdir()) == ["fp16.onnx", "fp32.onnx"]
    assert "python3 run.py compile" in verdict.next


def test_the_printed_commands_measure_a_copied_bundle(inputs: Path, tiny_teacher_folder: Path, tmp_path: Path) -> None:
    left = build(settings(inputs, tiny_teacher_folder, device="folder", out=tmp_path / "bundle"))
    assert left.reasons == ("not-reached",)
    assert str(tmp_path) in "\n".join(left.next)
    assert str(tmp_path) not in (tmp_path / "bundle" / "verdict.json").read_text()
    board = tmp_path / "board"
    board.mkdir()
    # What a person would type, with cp for scp and a folder for the board's home.
    script = "\n".join(left.next).replace("USER@BOARD:", f"{board}/").replace("scp ", "cp ")
    for section in filter(None, script.split("# ")):
        where, *lines = section.strip().splitlines()
        on_board = where.startswith("there")
        run_lines(lines, board if on_board else inputs, package=not on_board)
    decided = json.loads((tmp_path / "bundle" / "verdict.json").read_text())
    assert decided["verdict"] in ("pass", "fail")
    assert decided["device"]["matches_profile"] is True


def run_lines(lines: list[str], folder: Path, *, package: bool) -> None:
    """Run shell lines in `folder`; without `package`, edgedistill cannot be imported, as on a board."""
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if not package:
        environment["PYTHONPATH"] = str(blocker(folder))
    script = "\n".join(["set -e", *lines])
    done = subprocess.run(["bash", "-c", script], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode in (0, 3), done.stderr


def blocker(folder: Path) -> Path:
    """A folder that makes `import edgedistill` fail."""
    place = folder / "blocked"
    place.mkdir(exist_ok=True)
    (place / "edgedistill.py").write_text("raise ImportError('there is no edgedistill on a board')\n")
    return place


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder below, with its size and the time it was last written."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in folder.rglob("*")
    }


def test_while_another_build_holds_the_work_folder_nothing_is_written_asked_or_set(
    inputs: Path, tiny_teacher_folder: Path, tmp_path: Path
) -> None:
    """The other one is a process of its own; the hub is a socket that nobody knocks at."""
    work = tmp_path / "work"
    asked = {"teacher": "hf-hub:nobody/nothing", "student_weights": "auto", "work": work, "out": tmp_path / "bundle"}
    with socket.create_server(("127.0.0.1", 0)) as hub, WorkFolder(work).locked():
        before = snapshot(tmp_path)
        hub.settimeout(0)
        environment = dict(os.environ, HF_HUB_OFFLINE="0", HF_ENDPOINT=f"http://127.0.0.1:{hub.getsockname()[1]}")
        command = [sys.executable, "-m", "edgedistill", "build"]
        command += flags(inputs, tiny_teacher_folder, **asked)
        done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=inputs)
        with pytest.raises(BlockingIOError):
            hub.accept()
        threads = torch.get_num_threads()
        with pytest.raises(InputError, match="another build is at work"):
            build(settings(inputs, tiny_teacher_folder, threads=threads + 1, work=work))
        assert torch.get_num_threads() == threads
        assert snapshot(tmp_path) == before
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert f"another build is at work in {work}" in first
    assert "--work" in second


def test_a_program_may_build_twice_and_finds_its_own_state_again(
    built: dict[str, Any], inputs: Path, tiny_teacher_folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The second time from another number of threads: the same bundle, and again nothing is left behind."""
    manifests = []
    own = torch.get_num_threads()
    try:
        for name, threads in (("one", own), ("two", own + 1)):
            torch.set_num_threads(threads)
            before = state()
            build(settings(inputs, tiny_teacher_folder, epochs=1, device="folder", out=tmp_path / name))
            assert state() == before
            manifests.append((tmp_path / name / "manifest.json").read_bytes())
            for trained in [path for path in (inputs / "work").glob("distil-*") if name == "one"]:
                if '"epochs": 1' in (trained / "inputs.json").read_text():
                    shutil.rmtree(trained)
    finally:
        torch.set_num_threads(own)
    assert manifests[0] == manifests[1]
    assert capfd.readouterr() == ("", "")


def state() -> dict[str, Any]:
    """What a build could disturb in the program that calls it."""
    log = logging.getLogger("edgedistill")
    return {
        "threads": torch.get_num_threads(),
        "random": (torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()),
        "handlers": (logging.getLogger().handlers[:], log.handlers[:], log.level, log.propagate),
        "warnings": list(warnings.filters),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)],
        "environment": dict(os.environ),
        "folder": Path.cwd(),
    }


def test_the_command_shows_its_stages(inputs: Path, tiny_teacher_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(inputs / "bundle", tmp_path / "bundle")
    command = [sys.executable, "-m", "edgedistill", "build"]
    command += flags(inputs, tiny_teacher_folder, device="folder", out=tmp_path / "bundle")
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert f"{'scan':<22} {PHOTOS:>6} in" in done.stderr
    assert "training on cpu with 1 threads" in done.stderr


def test_too_few_photos_are_said_before_the_teacher_looks(
    inputs: Path, tiny_teacher_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos").mkdir()
    for photo in sorted((inputs / "photos").iterdir())[:2]:
        shutil.copy(photo, tmp_path / "photos")
    asked = settings(
        inputs, tiny_teacher_folder, images=tmp_path / "photos", check=None, work=tmp_path, out=tmp_path / "bundle"
    )
    with pytest.raises(InputError, match="2 photos to train on and 0 to check with"):
        build(asked)
    assert not (tmp_path / "bundle").exists()
    assert {path.name.partition("-")[0] for path in tmp_path.iterdir()} == {"photos", ".lock", "text"}


@pytest.mark.slow
@pytest.mark.xdist_group("built")
def test_a_killed_build_resumes_to_the_same_manifest(inputs: Path, tiny_teacher_folder: Path, tmp_path: Path) -> None:
    """kill -9 in three stages, each time the same command again: what comes out is what an unbroken run gives."""
    moments = np.random.default_rng()
    for stage in ("store-train", "distil", "bundle"):
        process = start_build(inputs, tiny_teacher_folder, tmp_path)
        wait_for(stage, tmp_path, process)
        time.sleep(moments.uniform(0.0, 0.5))
        process.send_signal(signal.SIGKILL)
        process.wait()
    last = start_build(inputs, tiny_teacher_folder, tmp_path)
    assert last.wait(timeout=600) == 0
    assert (tmp_path / "bundle" / "manifest.json").read_bytes() == (inputs / "bundle" / "manifest.json").read_bytes()


def start_build(inputs: Path, teacher: Path, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "edgedistill", "build"]
    command += flags(inputs, teacher, device="folder", work=folder / "work", out=folder / "bundle")
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for(stage: str, folder: Path, process: subprocess.Popen[bytes]) -> None:
    """Until the stage is being worked on (its folder, or the bundle's export, is there)."""
    pattern = f"{SCRATCH}*" if stage == "bundle" else f".{stage}-*.partial"
    until = time.monotonic() + 300
    while not list((folder / "work").glob(pattern)):
        assert process.poll() is None, f"the build ended before {stage}"
        assert time.monotonic() < until, f"{stage} never began"
        time.sleep(0.02)


def test_a_device_that_cannot_measure_ends_a_build_before_anything_is_made(
    inputs: Path, tiny_teacher_folder: Path, tmp_path: Path
) -> None:
    asked = settings(inputs, tiny_teacher_folder, device="folder:/not/plugged/in", work=tmp_path / "work")
    with pytest.raises(InputError, match="there is no folder /not/plugged/in"):
        build(asked)
    assert stages(tmp_path) == set()
