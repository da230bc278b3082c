"""benchmarks/real_photos.py: fair halves, no class in a name, nothing built twice, rows for the docs."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
from tiny_build import write_profile
from tiny_images import FOUR_CLASSES, write_check

from edgedistill.labels import Labels

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import real_photos


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Class folders `red_box` with 7 files and `blue_ball` with 4; equal contents nowhere."""
    made = tmp_path / "colours"
    for name, count in (("red_box", 7), ("blue_ball", 4)):
        (made / name).mkdir(parents=True)
        for k in range(count):
            (made / name / f"{name}_{k}.png").write_bytes(f"{name} {k}".encode())
    return made


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*/*"))


def contents(folder: Path) -> set[str]:
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}


# ---- the split -------------------------------------------------------------------------------------------------------


def test_every_class_is_halved_and_the_odd_photo_trains(folder: Path):
    pool, check = real_photos.halve(files(folder))
    assert [sum(p.parent.name == name for p in pool.values()) for name in ("red_box", "blue_ball")] == [4, 2]
    assert [sum(p.parent.name == name for p in check.values()) for name in ("red_box", "blue_ball")] == [3, 2]
    assert not pool.keys() & check.keys()


def test_a_class_is_halved_at_its_own_middle_hash(folder: Path):
    pool, check = real_photos.halve(files(folder))
    for name in ("red_box", "blue_ball"):
        upper = [content for content, path in pool.items() if path.parent.name == name]
        lower = [content for content, path in check.items() if path.parent.name == name]
        assert max(lower) < min(upper)
        assert set(lower + upper) == contents(folder / name)


def test_other_file_names_and_another_order_make_the_same_halves(folder: Path):
    before = [half.keys() for half in real_photos.halve(files(folder))]
    for k, path in enumerate(files(folder)):
        path.rename(path.with_name(f"{97 * k % 11:02d}.jpg"))
    assert [half.keys() for half in real_photos.halve(reversed(files(folder)))] == before


def test_copies_count_once_and_lie_on_one_side(folder: Path):
    before = [half.keys() for half in real_photos.halve(files(folder))]
    for path in files(folder):
        shutil.copy(path, path.with_name(f"copy of {path.name}"))
    assert [half.keys() for half in real_photos.halve(files(folder))] == before


def test_a_photo_of_two_classes_is_on_neither_side(folder: Path):
    both = shutil.copy(folder / "red_box" / "red_box_0.png", folder / "blue_ball")
    pool, check = real_photos.halve(files(folder))
    assert hashlib.sha256(Path(both).read_bytes()).hexdigest() not in pool.keys() | check.keys()
    assert len(pool) + len(check) == 10


# ---- the folder a build is given -------------------------------------------------------------------------------------


def test_the_pool_is_flat_and_its_names_are_hashes(folder: Path, tmp_path: Path):
    photos = real_photos.lay_out(folder, tmp_path / "work")
    inside = list((photos / "pool").iterdir())
    assert {path.name for path in inside} == contents(photos / "pool") == real_photos.halve(files(folder))[0].keys()
    assert not [path for path in inside if path.is_symlink()]  # a link's target would tell the class


def test_the_check_half_keeps_its_class_folders(folder: Path, tmp_path: Path):
    photos = real_photos.lay_out(folder, tmp_path / "work")
    assert {path.name for path in (photos / "check").iterdir()} == {"red_box", "blue_ball"}
    for name in ("red_box", "blue_ball"):
        assert contents(photos / "check" / name) < contents(folder / name)
    assert not contents(photos / "check") & contents(photos / "pool")


def test_classes_and_synonyms_are_those_of_the_zero_shot_benchmark(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "colours.txt").write_text("red box | crate | red case\nblue ball\n")
    monkeypatch.setattr(sys.modules["zero_shot"], "NAMES", tmp_path)
    labels = Labels.read(real_photos.lay_out(folder, tmp_path / "work") / "labels.txt")
    assert [label.words for label in labels.entries] == [("blue ball",), ("red box", "crate", "red case")]


def test_a_layout_is_made_once_and_anew_for_other_photos(folder: Path, tmp_path: Path):
    work = tmp_path / "work"
    first = real_photos.lay_out(folder, work)
    made = first.stat().st_mtime_ns
    assert real_photos.lay_out(folder, work) == first
    assert first.stat().st_mtime_ns == made
    (folder / "red_box" / "red_box_0.png").unlink()
    assert real_photos.lay_out(folder, work) != first


def test_what_a_killed_run_left_is_no_layout(folder: Path, tmp_path: Path):
    work = tmp_path / "work"
    first = real_photos.lay_out(folder, work)
    half_made = first.rename(work / f".{first.name}.partial")
    (half_made / "pool" / "stray").write_bytes(b"")
    assert "stray" not in {path.name for path in (real_photos.lay_out(folder, work) / "pool").iterdir()}
    assert not half_made.exists()


# ---- builds ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def options(tmp_path: Path) -> argparse.Namespace:
    """A build that cannot begin: its teacher is not there."""
    teacher, work = f"local-dir:{tmp_path / 'nowhere'}", tmp_path / "work"
    return argparse.Namespace(profile="cpu", teacher=teacher, start="none", input_size=32, epochs=None, work=work)


def test_a_bundle_with_its_verdict_is_not_built_again(built_folder: Path, tmp_path: Path, options: argparse.Namespace):
    (tmp_path / "bundle-7-key").mkdir()
    shutil.copy(built_folder / "bundle" / "verdict.json", tmp_path / "bundle-7-key")
    (tmp_path / "bundle-7-key.seconds").write_text("12.5")
    verdict, seconds = real_photos.build(tmp_path, options, "key", 7)
    assert verdict == json.loads((built_folder / "bundle" / "verdict.json").read_text())
    assert seconds == 12.5


@pytest.mark.parametrize(("verdict", "decided"), [("pass", True), ("fail", True), ("unmeasured", False), (None, False)])
def test_pass_and_fail_end_a_build_and_nothing_else_does(tmp_path: Path, verdict: str | None, decided: bool):
    if verdict:
        (tmp_path / "verdict.json").write_text(json.dumps({"verdict": verdict}))
    assert real_photos.decided(tmp_path) is decided


def test_another_end_than_a_verdict_stops_with_the_builds_own_message(
    folder: Path, tmp_path: Path, options: argparse.Namespace, capfd: pytest.CaptureFixture[str]
):
    photos = real_photos.lay_out(folder, tmp_path / "work")
    with pytest.raises(SystemExit) as stopped:
        real_photos.build(photos, options, "key", 0)
    assert stopped.value.code == 2
    assert "nowhere" in capfd.readouterr().err
    assert (photos / "bundle-0-key.seconds").read_text() == ""  # what the next run takes is not the whole build


def test_other_weights_make_another_bundle(tiny_teacher_folder: Path, tmp_path: Path, options: argparse.Namespace):
    shutil.copytree(tiny_teacher_folder, tmp_path / "teacher")
    options.teacher = f"local-dir:{tmp_path / 'teacher'}"
    first = real_photos.recipe(options)
    assert real_photos.recipe(options) == first
    weights = tmp_path / "teacher" / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    assert real_photos.recipe(options) != first


# ---- rows ------------------------------------------------------------------------------------------------------------


def test_a_set_is_the_mean_over_its_seeds_between_the_lowest_and_the_highest():
    def built(student: float, **more: float) -> dict[str, dict[str, float]]:
        found = {"teacher": (0.7, 0.6, 0.8), "student": (student, student - 0.1, student + 0.1)}
        found |= {name: (value, value, value) for name, value in more.items()}
        return {name: dict(zip(("value", "low", "high"), triple)) for name, triple in found.items()}

    summary = real_photos.summarise("set", {0: built(0.5), 4: built(0.8, seconds=30.0), 2: built(0.65)})
    lines = {line.figure: (line, seeds) for line, seeds in summary}
    student, of_seed = lines["set/student"]
    assert [student.value, student.low, student.high] == pytest.approx([0.65, 0.5, 0.8])
    assert {seed: one["value"] for seed, one in of_seed.items()} == {"0": 0.5, "4": 0.8, "2": 0.65}
    teacher, _ = lines["set/teacher"]
    assert [teacher.value, teacher.low, teacher.high] == pytest.approx([0.7, 0.6, 0.8])  # its interval, no spread
    seconds, of_seed = lines["set/seconds"]
    assert (seconds.value, list(of_seed)) == (30.0, ["4"])


@pytest.fixture
def finished(
    built_folder: Path, folder: Path, options: argparse.Namespace, tiny_teacher_folder: Path
) -> argparse.Namespace:
    """Options whose builds of `folder` with seeds 0 and 1 have ended: 0 in 30 s, 1 with a pass and interrupted once."""
    options.teacher = f"local-dir:{tiny_teacher_folder}"
    photos, key = real_photos.lay_out(folder, options.work), real_photos.recipe(options)
    verdict = json.loads((built_folder / "bundle" / "verdict.json").read_text())
    for seed, name, seconds in ((0, "fail", "30.0"), (1, "pass", "")):
        bundle = photos / f"bundle-{seed}-{key}"
        bundle.mkdir()
        (bundle / "verdict.json").write_text(json.dumps({**verdict, "verdict": name}))
        bundle.with_name(f"{bundle.name}.seconds").write_text(seconds)
    return options


def run(monkeypatch: pytest.MonkeyPatch, options: argparse.Namespace, *words: object) -> None:
    command = ["real_photos.py", "--profile", options.profile, "--teacher", options.teacher, "--start", options.start]
    command += ["--input-size", options.input_size, "--work", options.work, *words]
    monkeypatch.setattr(sys, "argv", [str(word) for word in command])
    real_photos.main()


def test_a_row_holds_what_the_docs_need(
    finished: argparse.Namespace,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    out = tmp_path / "results" / "rows.json"
    run(monkeypatch, finished, "--data", folder, "--seeds", 0, 1, "--json", out)
    lines = {line["figure"].removeprefix("colours/"): line for line in json.loads(out.read_text())}
    assert list(lines) == [figure for figure in real_photos.UNITS if not figure.startswith("start")]  # from scratch
    assert all(list(line)[-3:] == ["seeds", "machine", "command"] for line in lines.values())
    assert lines["student"]["value"] - lines["teacher"]["value"] == pytest.approx(lines["difference"]["value"] / 100)
    assert (lines["pool"]["value"], lines["check"]["value"], lines["passed"]["value"]) == (6, 96, 0.5)
    assert {seed: one["verdict"] for seed, one in lines["passed"]["seeds"].items()} == {"0": "fail", "1": "pass"}
    assert {seed: one["value"] for seed, one in lines["seconds"]["seeds"].items()} == {"0": 30.0}
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[-2:] for line in table if line.startswith(("passed", "seconds"))] == [
        ["fail", "pass"],
        ["30", "-"],
    ]


def test_two_sets_of_one_name_are_refused(
    folder: Path, tmp_path: Path, options: argparse.Namespace, monkeypatch: pytest.MonkeyPatch
):
    with pytest.raises(SystemExit):
        run(monkeypatch, options, "--data", folder, shutil.copytree(folder, tmp_path / "other" / folder.name))


@pytest.mark.slow
@pytest.mark.xdist_group("built")
def test_photos_become_rows_and_a_second_run_builds_nothing(
    built_folder: Path,
    tiny_teacher_folder: Path,
    tmp_path: Path,
    options: argparse.Namespace,
    monkeypatch: pytest.MonkeyPatch,
):
    photos, out = write_check(tmp_path / "shapes", 112, seed=5, classes=FOUR_CLASSES), tmp_path / "rows.json"
    options.teacher, options.start = f"local-dir:{tiny_teacher_folder}", built_folder / "bundle"
    options.profile = write_profile(tmp_path / "quick.toml", latency_p95_ms="0.0001")  # no build can pass
    words = ["--epochs", 1, "--data", photos, "--seeds", 3, "--json", out]
    run(monkeypatch, options, *words)
    lines = json.loads(out.read_text())
    assert [line["figure"] for line in lines] == [f"shapes/{figure}" for figure in real_photos.UNITS]
    assert all(line["low"] <= line["value"] <= line["high"] for line in lines)
    value = {line["figure"].removeprefix("shapes/"): line["value"] for line in lines}
    assert (value["pool"], value["check"], value["passed"]) == (56, 56, 0)
    assert value["teacher"] > 0.8  # it knows these classes: the check folders' names have arrived

    shutil.rmtree(options.work / "stages")
    run(monkeypatch, options, *words)
    assert json.loads(out.read_text()) == lines
    assert not (options.work / "stages").exists()
