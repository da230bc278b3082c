"""benchmarks/reproduce.py: public layouts become a build's input, no pickle runs code, the teacher comes first."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_images import FOUR_CLASSES, make_photo

from edgedistill.errors import InputError
from edgedistill.verdict.intervals import wilson

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import protocols
import public_sets
import reproduce

ROOT = Path(__file__).parents[2]
NAMES = tuple(name.replace(" ", "_") for name in FOUR_CLASSES)


def tiny_pixels(count: int, seed: int) -> tuple[np.ndarray, list[int]]:
    """uint8 [count, 3072] as CIFAR stores them, and the classes in turn."""
    photos = [make_photo(FOUR_CLASSES[k % 4], 1000 * seed + k, size=(32, 32)) for k in range(count)]
    return np.stack([np.asarray(photo).transpose(2, 0, 1).ravel() for photo in photos]), [k % 4 for k in range(count)]


def write_pickle(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(pickle.dumps(value, protocol=2))


def write_cifar100(folder: Path, train: int = 8, test: int = 8) -> Path:
    """cifar-100-python/ in `folder`, with four classes."""
    base = folder / "cifar-100-python"
    write_pickle(base / "meta", {"fine_label_names": list(NAMES), "coarse_label_names": ["things"]})
    for seed, (part, count) in enumerate((("train", train), ("test", test))):
        data, labels = tiny_pixels(count, seed)
        write_pickle(base / part, {"data": data, "fine_labels": labels, "coarse_labels": [0] * count})
    return folder


def write_folders(
    folder: Path, *parts: str, classes: tuple[str, ...] = ("blue_ball", "red_box"), each: int = 2
) -> Path:
    """PART/CLASS/K.png, no two files alike."""
    for p, part in enumerate(parts):
        for c, name in enumerate(classes):
            (folder / part / name).mkdir(parents=True)
            for k in range(each):
                Image.new("RGB", (8, 8), (40 * p, 9 * c, k)).save(folder / part / name / f"{k}.png")
    return folder


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> None:
    monkeypatch.setattr(sys, "argv", ["reproduce.py", *map(str, words)])
    reproduce.main()


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object) -> list[str]:
    """The two lines that a command ends with."""
    with pytest.raises(SystemExit) as stopped:
        run(monkeypatch, *words)
    assert stopped.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    return lines


# ---- pickles ---------------------------------------------------------------------------------------------------------


def test_cifar_100_is_read_with_its_fine_classes(tmp_path: Path):
    found = public_sets.cifar("cifar100", write_cifar100(tmp_path))
    assert found.names == FOUR_CLASSES
    assert (len(found.pool), [label for label, _ in found.test]) == (8, [0, 1, 2, 3] * 2)
    (tmp_path / "first.png").write_bytes(found.test[0][1])
    pixels = np.asarray(Image.open(tmp_path / "first.png"))
    assert np.array_equal(pixels, np.asarray(make_photo(FOUR_CLASSES[0], 1000, size=(32, 32))))


def test_cifar_10_is_five_batches_and_a_test(tmp_path: Path):
    write_pickle(tmp_path / "batches.meta", {"label_names": list(NAMES)})
    for seed, name in enumerate((*(f"data_batch_{k}" for k in range(1, 6)), "test_batch")):
        data, labels = tiny_pixels(4, seed)
        write_pickle(tmp_path / name, {"data": data, "labels": labels})
    found = public_sets.cifar("cifar10", tmp_path)  # the folder itself, not its parent
    assert (len(found.pool), len(found.test), found.names) == (20, 4, FOUR_CLASSES)


def test_a_pickle_as_python_2_wrote_it_is_read(tmp_path: Path):
    """The published files: byte strings for text and pixels, no codec."""
    two = (
        b"\x80\x02}q\x00(U\x04dataq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85U\x01b"
        b"\x87Rq\x04(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nq\x05U\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xff"
        b"J\xff\xff\xff\xffK\x00tb\x89T\x00\x0c\x00\x00"
        + bytes(range(256)) * 12
        + b"tbU\x0bfine_labelsq\x06]q\x07K\x03au."
    )
    (tmp_path / "train").write_bytes(two)
    found = public_sets.read_pickle(tmp_path / "train")
    assert found["fine_labels"] == [3]
    assert found["data"].pixels().tolist() == [list(range(256)) * 12]


class Foreign:
    """What a hostile file would hold: unpickled, it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.folder),)


def test_a_pickle_with_a_foreign_object_is_refused_and_nothing_of_it_runs(tmp_path: Path):
    write_cifar100(tmp_path)
    data, labels = tiny_pixels(4, 0)
    hostile = {"data": data, "fine_labels": labels, "more": Foreign(tmp_path / "made")}
    write_pickle(tmp_path / "cifar-100-python/train", hostile)
    with pytest.raises(InputError, match=r"holds more than images: it asks for \w+\.mkdir") as refusal:
        public_sets.cifar("cifar100", tmp_path)
    assert "Nothing of it was run" in refusal.value.todo
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("harmless", [np.float64(1), {1, 2}.__class__, argparse.Namespace()])
def test_even_a_harmless_foreign_object_is_refused(tmp_path: Path, harmless: object):
    write_pickle(tmp_path / "train", {"data": harmless})
    with pytest.raises(InputError, match="it asks for"):
        public_sets.read_pickle(tmp_path / "train")


def test_no_other_codec_is_called(tmp_path: Path):
    (tmp_path / "train").write_bytes(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.")
    with pytest.raises(InputError, match="codec 'rot13'"):
        public_sets.read_pickle(tmp_path / "train")


@pytest.mark.parametrize(
    "changed",
    [
        {"data": np.zeros((4, 3072), np.float32)},
        {"data": np.zeros((4, 3000), np.uint8)},
        {"fine_labels": [0, 1]},
        {"data": 3},
    ],
    ids=["floats", "other size", "too few labels", "no array"],
)
def test_a_batch_of_another_shape_is_refused(tmp_path: Path, changed: dict[str, Any]):
    write_cifar100(tmp_path)
    data, labels = tiny_pixels(4, 0)
    write_pickle(tmp_path / "cifar-100-python/test", {"data": data, "fine_labels": labels} | changed)
    with pytest.raises(InputError, match="cifar-100-python/test"):
        public_sets.cifar("cifar100", tmp_path)


def test_a_truncated_pickle_is_refused(tmp_path: Path):
    write_cifar100(tmp_path)
    meta = tmp_path / "cifar-100-python/meta"
    meta.write_bytes(meta.read_bytes()[:20])
    with pytest.raises(InputError, match="damaged"):
        public_sets.cifar("cifar100", tmp_path)


# ---- folders and splits ----------------------------------------------------------------------------------------------


def test_cifar_as_png_folders_is_taken_too(tmp_path: Path):
    found = public_sets.cifar("cifar100", write_folders(tmp_path, "train", "test"))
    assert found.names == ("blue ball", "red box")
    assert [path.parent.parent.name for path in found.pool] == ["train"] * 4
    assert [(label, path.parent.name) for label, path in found.test] == [(0, "blue_ball")] * 2 + [(1, "red_box")] * 2


def test_class_folders_without_a_split_are_halved(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    found = public_sets.class_folders(write_folders(tmp_path, "", each=5))
    assert (len(found.pool), len(found.test), found.published_split) == (6, 4, False)
    assert {(label, path.parent.name) for label, path in found.test} == {(0, "blue_ball"), (1, "red_box")}
    assert "halved" in capsys.readouterr().out


def test_imagenet_folders_get_the_names_of_a_file(tmp_path: Path):
    data = write_folders(tmp_path / "set", "train", "val", classes=("n01", "n02", "n03"))
    (tmp_path / "names.txt").write_text("n01 tench\nn02 great white shark\nn03 baluster / handrail\n")
    found = public_sets.imagenet(data, public_sets.read_names(tmp_path / "names.txt"))
    assert found.names == ("tench", "great white shark", "baluster / handrail")
    assert found.base == 2  # three classes: the odd one is base


def test_all_of_imagenet_needs_no_file_and_its_names_make_a_class_list(tmp_path: Path):
    import open_clip

    ids = sorted({f"n{k:08d}" for k in range(998)} | {"n04008634", "n04355933"})
    for name in ids:
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "val" / name).mkdir(parents=True)
    found = public_sets.imagenet(tmp_path)
    assert found.names[:2] == tuple(open_clip.IMAGENET_CLASSNAMES[:2])
    assert found.names[-2:] == ("projectile", "sunglass")
    assert found.base == 500


def test_fewer_folders_than_imagenet_has_are_refused_without_names(tmp_path: Path):
    with pytest.raises(InputError, match="2 class folders, and ImageNet-1K has 1000"):
        public_sets.imagenet(write_folders(tmp_path, "train", "val"))


def write_split(folder: Path) -> tuple[Path, Path]:
    """Five classes, listed out of order; two images each to train on, one to test with."""
    classes = ("a", "b", "c", "d", "F/A-18")
    split: dict[str, list[tuple[str, int, str]]] = {"train": [], "val": [], "test": []}
    for label in (3, 1, 4, 0, 2):
        for k, part in enumerate(("train", "train", "test")):
            path = f"images/{label}_{k}.png"
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 8), (label, k, 0)).save(folder / path)
            split[part].append((path, label, classes[label]))
    (folder / "split.json").write_text(json.dumps(split))
    return folder, folder / "split.json"


def test_a_split_file_has_its_classes_in_the_order_of_their_labels(tmp_path: Path):
    found = public_sets.from_split(*write_split(tmp_path))
    assert found.names == ("a", "b", "c", "d", "F/A-18")
    assert found.base == 3
    assert (len(found.pool), sorted(label for label, _ in found.test)) == (10, [0, 1, 2, 3, 4])


def test_a_split_whose_images_are_elsewhere_names_the_first(tmp_path: Path):
    _, split = write_split(tmp_path / "set")
    with pytest.raises(InputError, match=r"images/3_0\.png is not there"):
        public_sets.from_split(tmp_path, split)


@pytest.mark.parametrize("text", ["no json", "[]", '{"train": [["a.png", 0]], "test": []}', '{"train": []}'])
def test_what_is_no_split_is_refused(tmp_path: Path, text: str):
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(InputError, match="no split file"):
        public_sets.from_split(tmp_path, tmp_path / "split.json")


# ---- the input of a build --------------------------------------------------------------------------------------------


def test_a_layout_names_no_class_in_the_pool_and_labels_every_test_file(tmp_path: Path):
    photos = public_sets.lay_out(public_sets.cifar("cifar100", write_cifar100(tmp_path)), "tiny", tmp_path / "work")
    assert [re.fullmatch(r"[0-9a-f]{64}", path.name) is not None for path in (photos.folder / "pool").iterdir()] == [
        True
    ] * 8
    assert (photos.folder / "labels.txt").read_text().splitlines() == list(FOUR_CLASSES)
    assert [photos.labels.match(path.parent.name) for path in photos.files] == photos.truth.tolist()
    assert len(photos.files) == 8


def test_a_class_with_a_slash_has_a_check_folder_that_the_list_knows(tmp_path: Path):
    photos = public_sets.lay_out(public_sets.from_split(*write_split(tmp_path)), "tiny", tmp_path / "work")
    assert [photos.labels.match(path.parent.name) for path in photos.files] == photos.truth.tolist()
    assert sorted(photos.truth.tolist()) == [0, 1, 2, 3, 4]


def test_a_test_file_does_not_train_and_one_of_two_classes_counts_nowhere(tmp_path: Path):
    found = public_sets.PublicSet(
        ("a", "b"), [b"own", b"tested", b"own", b"both"], [(0, b"tested"), (1, b"both"), (0, b"both"), (0, b"tested")]
    )
    photos = public_sets.lay_out(found, "tiny", tmp_path)
    assert photos.pool == 1
    assert [path.read_bytes() for path in (photos.folder / "pool").iterdir()] == [b"own"]
    assert [path.read_bytes() for path in photos.files] == [b"tested"]


def test_a_layout_is_made_once(tmp_path: Path):
    found = public_sets.PublicSet(("a", "b"), [b"x"], [(0, b"y"), (1, b"z")])
    first = public_sets.lay_out(found, "tiny", tmp_path)
    made = first.folder.stat().st_mtime_ns
    assert public_sets.lay_out(found, "tiny", tmp_path).files == first.files
    assert first.folder.stat().st_mtime_ns == made


def test_two_names_that_are_the_same_are_refused_before_anything_is_laid_out(tmp_path: Path):
    with pytest.raises(InputError, match="the same as"):
        public_sets.lay_out(public_sets.PublicSet(("sun glass", "sun-glass"), [b"x"], [(0, b"y")]), "tiny", tmp_path)
    assert not list(tmp_path.glob("tiny-*"))


# ---- the table -------------------------------------------------------------------------------------------------------


def test_the_page_is_what_the_table_says():
    assert (ROOT / "docs/reproduce.md").read_text(encoding="utf-8") == protocols.page(), (
        "run python benchmarks/reproduce.py --list --markdown > docs/reproduce.md"
    )


def test_every_protocol_has_a_source_and_a_cell_of_ours_for_each_of_its_runs(tmp_path: Path):
    page = protocols.page(tmp_path)
    for protocol in protocols.PROTOCOLS.values():
        lines = protocols.lines_of(protocol, tmp_path)
        assert all(source for *_, source in lines)
        own = [figure for what, figure, *_ in lines if what.startswith("ours: ")]
        assert own == [protocols.NOT_RUN] * (1 + len(protocol.runs))
        assert f"## {protocol.name}\n" in page
    assert not re.search(r"^\| ours: .*\| \d", page, re.M)


def test_the_harmonic_means_in_the_table_are_those_of_their_halves():
    """A slip of typing would show here. The paper's are rounded, and one of them is not the mean of its halves."""
    for protocol in protocols.PROTOCOLS.values():
        for one in protocol.published:
            if one.unit == protocols.THREE:
                base, novel, mean = map(float, one.figure.split(" / "))
                own = reproduce.harmonic(base, novel)
                told = f"the harmonic mean of the two is {own:.2f}" in one.source
                assert told != (own == pytest.approx(mean, abs=0.06)), (protocol.name, one.what, own)


def test_a_cell_of_ours_is_filled_by_rows_of_the_unchanged_protocol_alone(tmp_path: Path):
    rows = tmp_path / "reproduce_prg_cifar100.json"
    line = {"figure": "prg-cifar100/teacher top-1", "value": 0.7581, "changed": []}
    rows.write_text(json.dumps([line, {**line, "figure": "prg-cifar100/resnet18 from scratch top-1", "value": None}]))
    cells = {what: figure for what, figure, *_ in protocols.lines_of(protocols.find("prg-cifar100"), tmp_path)}
    assert cells["ours: teacher ViT-L-14/openai"] == "75.81"
    assert cells["ours: resnet18 from scratch"] == protocols.NOT_RUN
    rows.write_text(json.dumps([{**line, "changed": ["teacher local-dir:tiny"]}]))
    assert protocols.lines_of(protocols.find("prg-cifar100"), tmp_path)[3][1] == protocols.NOT_RUN


def test_the_list_prints_every_protocol(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    run(monkeypatch, "--list")
    told = capsys.readouterr().out
    assert all(f"{name}\n" in told for name in protocols.PROTOCOLS)
    assert "76.23" in told


# ---- what is refused -------------------------------------------------------------------------------------------------


def test_an_unknown_protocol_is_told_its_near_ones(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    wrong, todo = refused(monkeypatch, capsys, "prg-cifar10", "--data", ".")
    assert "'prg-cifar10'" in wrong
    assert "prg-cifar100" in todo


def test_data_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    wrong, todo = refused(monkeypatch, capsys, "prg-cifar100", "--data", tmp_path / "nowhere")
    assert "nowhere does not exist" in wrong
    assert "CIFAR-100" in todo
    assert "--data" in refused(monkeypatch, capsys, "prg-cifar100")[0]
    assert "neither train/" in refused(monkeypatch, capsys, "prg-cifar100", "--data", tmp_path)[0]


@pytest.mark.parametrize("name", ["data-free-pacs", "data-free-vlcs", "data-free-visda"])
def test_data_free_protocols_say_that_they_cannot_be_run(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    wrong, todo = refused(monkeypatch, capsys, name, "--data", tmp_path)
    assert "lacks a run without photos" in wrong
    assert todo == "Choose another protocol."


def test_a_protocol_with_a_method_or_a_flag_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch):
    protocol = protocols.find("eikd-cifar10")
    monkeypatch.setattr(reproduce, "METHODS", {})
    with pytest.raises(InputError, match="the method eikd"):
        reproduce.refuse_what_is_missing(protocol)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        (["--students", "resnet81"], "no student 'resnet81'"),
        (["--split", "."], "takes no --split"),
        (["--pool", "."], "takes no --pool"),
    ],
)
def test_words_that_do_not_fit_the_protocol_are_refused(
    words: list[str], wrong: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    data = write_cifar100(tmp_path)
    assert wrong in refused(monkeypatch, capsys, "prg-cifar100", "--data", data, *words)[0]


def test_photos_from_elsewhere_take_the_place_of_the_training_split(tmp_path: Path):
    options = argparse.Namespace(data=write_cifar100(tmp_path / "set"), split=None, names=None, pool=None)
    protocol = dataclasses.replace(protocols.find("eikd-cifar10"), layout="cifar100")
    with pytest.raises(InputError, match="needs --pool"):
        reproduce.read_data(protocol, options)
    options.pool = write_folders(tmp_path / "web", "deep/er")
    found = reproduce.read_data(protocol, options)
    assert {path.suffix for path in found.pool} == {".png"}
    assert (len(found.pool), len(found.test), found.names) == (4, 8, FOUR_CLASSES)


def test_weights_that_cannot_be_had_are_no_start_from_scratch(capsys: pytest.CaptureFixture[str]):
    """The hub is not asked in tests, and no cache has this one."""
    runs = [protocols.Run("test_resnet", "auto"), protocols.Run("test_resnet", "none")]
    assert reproduce.possible_runs(runs, 32) == runs[1:]
    assert "not run here: test_resnet from published weights" in capsys.readouterr().out
    with pytest.raises(InputError, match="no student can be trained"):
        reproduce.possible_runs(runs[:1], 32)


# ---- figures ---------------------------------------------------------------------------------------------------------


def test_base_and_novel_images_are_judged_among_their_own_classes():
    scores = np.array([[0.1, 0.2, 0.9, 0.0], [0.9, 0.2, 0.1, 0.3], [0.3, 0.2, 0.9, 0.8]])
    truth = np.array([1, 3, 2])
    assert reproduce.answers(scores, truth, None).tolist() == [2, 0, 2]
    assert reproduce.answers(scores, truth, 2).tolist() == [1, 3, 2]


def test_figures_are_shares_with_their_intervals():
    chosen, truth = np.array([0, 1, 1, 0, 2, 2]), np.array([0, 1, 0, 0, 2, 3])
    (one,) = reproduce.figures(chosen, truth, None)
    assert (one.name, one.value) == ("top-1", pytest.approx(4 / 6))
    assert (one.low, one.high) == wilson(4, 6)
    base, novel, mean = reproduce.figures(chosen, truth, 2)
    assert (base.value, novel.value, mean.value) == (0.75, 0.5, pytest.approx(0.6))
    assert mean.low < mean.value < mean.high
    agreement, difference = reproduce.beside(chosen, np.array([0, 0, 0, 0, 2, 2]), truth)
    assert agreement.value == pytest.approx(4 / 6)
    assert difference.value == pytest.approx(0)


def test_what_the_command_line_changes_is_told():
    options = argparse.Namespace(teacher="local-dir:tiny", epochs=240, views=None, input_size=32)
    protocol, changed = reproduce.as_asked(protocols.find("prg-cifar100"), options)
    assert changed == ["teacher local-dir:tiny", "input_size 32"]  # 240 epochs are the protocol's own
    assert (protocol.teacher, protocol.input_size, protocol.epochs) == ("local-dir:tiny", 32, 240)


def test_templates_of_a_protocols_own_reach_the_build_as_a_file(tmp_path: Path):
    from edgedistill.classes.templates import template_set

    path = reproduce.template_words(protocols.find("promptkd-pets"), tmp_path / "work")
    assert template_set(path).templates == ("a photo of a {}, a type of pet.",)
    assert reproduce.template_words(protocols.find("prg-cifar100"), tmp_path) == "cifar"


@pytest.mark.parametrize("name", [name for name, one in protocols.PROTOCOLS.items() if name[:3] in ("prg", "pro")])
def test_a_build_takes_the_words_of_every_protocol(name: str, tmp_path: Path):
    """They parse as `edgedistill build` would, and the method takes its options."""
    import typer

    from edgedistill.cli import app
    from edgedistill.distil.methods import make

    protocol = protocols.find(name)
    make(protocol.method, protocol.options)
    photos = public_sets.Photos(tmp_path, None, (), np.empty(0), 0)  # type: ignore[arg-type]
    options = argparse.Namespace(profile="cpu", seed=0, train_on="cpu", threads=2, work=tmp_path)
    words = reproduce.build_words(protocol, protocol.runs[0], photos, "general", options, tmp_path / "out")
    command = typer.main.get_command(app).commands["build"]  # type: ignore[attr-defined]
    context = command.make_context("build", words[1:])
    assert {key: context.params[key] for key in protocol.flags()} == protocol.flags()
    assert list(context.params["option"] or ()) == list(protocol.options)


# ---- runs ------------------------------------------------------------------------------------------------------------


def words_of(data: Path, teacher: Path, work: Path) -> list[object]:
    tiny = ["--teacher", f"local-dir:{teacher}", "--input-size", 32, "--epochs", 2, "--views", 2]
    return ["--data", data, *tiny, "--train-on", "cpu", "--threads", 1, "--work", work, "--json", work / "rows.json"]


def test_the_teacher_is_measured_and_written_before_any_build(
    tmp_path: Path, tiny_teacher_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    """The first build is stopped as soon as it would begin: the file has the teacher's row by then."""
    seen: list[dict[str, Any]] = []

    def stopped(*_: object) -> None:
        seen.extend(json.loads((tmp_path / "work/rows.json").read_text()))
        raise SystemExit(9)

    monkeypatch.setattr(reproduce, "build", stopped)
    data = write_cifar100(tmp_path / "data", test=16)
    words = words_of(data, tiny_teacher_folder, tmp_path / "work")
    with pytest.raises(SystemExit, match="9"):
        run(monkeypatch, "prg-cifar100", *words, "--students", "resnet18", "--starts", "none")
    first, *others = seen
    assert (first["figure"], first["ran"]) == ("prg-cifar100/teacher top-1", "here")
    assert first["value"] > 0.6  # it knows these classes, at 32 pixels too: names and truth fit each other
    assert len(others) == 4 * 3
    assert {(line["ran"], line["value"]) for line in others} == {(protocols.NOT_RUN, None)}


def test_a_split_is_measured_by_halves(
    tmp_path: Path,
    tiny_teacher_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    split: dict[str, list[tuple[str, int, str]]] = {"train": [], "test": []}
    for k in range(16):
        make_photo(FOUR_CLASSES[k % 4], k).save(tmp_path / f"{k}.png")
        split["train" if k < 8 else "test"].append((f"{k}.png", k % 4, FOUR_CLASSES[k % 4]))
    (tmp_path / "split.json").write_text(json.dumps(split))
    words = words_of(tmp_path, tiny_teacher_folder, tmp_path / "work")
    run(monkeypatch, "promptkd-pets", *words, "--split", tmp_path / "split.json", "--teacher-only")
    lines = json.loads((tmp_path / "work/rows.json").read_text())
    measured = {line["figure"]: line["value"] for line in lines if line["ran"] == "here"}
    assert list(measured) == [f"promptkd-pets/teacher {figure}" for figure in protocols.HALVES]
    assert min(measured.values()) > 0.7
    assert not (tmp_path / "work/stages").exists()
    assert f"promptkd-pets/mobilenetv3_large_100 from scratch HM  {protocols.NOT_RUN}" in re.sub(
        "  +", "  ", capsys.readouterr().out
    )


@pytest.mark.slow
def test_a_small_set_goes_from_pickles_to_rows(tmp_path: Path, tiny_teacher_folder: Path):
    """As a person runs it: one real build, then the student's rows beside the teacher's."""
    data = write_cifar100(tmp_path / "data", train=64, test=32)
    words = words_of(data, tiny_teacher_folder, tmp_path / "work")
    command = [sys.executable, ROOT / "benchmarks/reproduce.py", "prg-cifar100", *words]
    command += ["--students", "resnet18", "--starts", "none"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    lines = json.loads((tmp_path / "work/rows.json").read_text())
    ran = {line["figure"].partition("/")[2]: line for line in lines if line["ran"] == "here"}
    student = "resnet18 from scratch"
    assert list(ran) == ["teacher top-1", *(f"{student} {name}" for name in ("top-1", "agreement", "difference"))]
    difference = ran[f"{student} top-1"]["value"] - ran["teacher top-1"]["value"]
    assert ran[f"{student} difference"]["value"] == pytest.approx(100 * difference)
    assert all(line["low"] <= line["value"] <= line["high"] for line in ran.values())
    assert ran["teacher top-1"]["changed"][1:] == ["epochs 2", "views 2", "input_size 32"]
    assert done.stdout.index("prg-cifar100/teacher top-1") < done.stdout.index("\nedgedistill build --profile")
    (bundle,) = (tmp_path / "work").glob("prg-cifar100-*/resnet18-none-0/manifest.json")
    assert bundle.is_file()
