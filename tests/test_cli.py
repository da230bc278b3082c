"""The command line: two lines for a mistake, data on stdout, talk on stderr, and exit codes that scripts can use."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_build import flags

from edgedistill.profiles import list_profiles


def edgedistill(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgedistill", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def assert_two_lines(done: subprocess.CompletedProcess[str], *said: str) -> None:
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 2, done.stderr
    for words in said:
        assert words in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("build", "--classes", "l", "--images", "i"), "--profile is missing"),
        (("build", "--profile", "cpu", "--classes", "l", "--engine", "diffusers"), "diffusers needs a pipeline"),
        (("synthesize", "--classes", "l"), "--out is missing"),
        pytest.param(
            ("build", "--profile", "jetson-orn", "--classes", "l", "--images", "i"),
            "jetson-orin",
            marks=pytest.mark.workshop,
        ),
        pytest.param(
            ("build", "--profile", "cpu", "--classes", "nowhere.txt", "--images", "i"),
            "nowhere.txt",
            marks=pytest.mark.workshop,
        ),
        (("verify", "nowhere"), "nowhere"),
        (("predict", "nowhere", "x.jpg"), "nowhere"),
        (("profiles", "show", "toaster"), "toaster"),
        (("build", "--epochs", "many"), "--epochs"),
        (("verify",), "missing argument"),
        (("verify", "one", "two"), "two"),
        (("frobnicate",), "frobnicate"),
    ],
)
def test_a_mistake_is_two_lines_and_exit_2(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    assert_two_lines(edgedistill(*words, cwd=tmp_path), said)


def test_errors_look_as_those_of_run_py_do(tmp_path: Path) -> None:
    for words in (("verify", "nowhere"), ("build", "--clases", "x"), ("verify",)):
        wrong, todo = edgedistill(*words, cwd=tmp_path).stderr.splitlines()
        assert wrong.startswith("error: ")
        assert wrong[7].islower() or wrong[7] in "-/", wrong
        assert todo[0].isupper(), todo
        assert todo[-1] == ".", todo


def test_debug_shows_where_it_happened(tmp_path: Path) -> None:
    done = edgedistill("verify", "nowhere", "--debug", cwd=tmp_path)
    assert done.returncode != 0
    assert "Traceback" in done.stderr


def test_an_unknown_flag_names_the_nearest() -> None:
    assert_two_lines(edgedistill("build", "--clases", "x"), "--clases", "--classes", "edgedistill build --help")


@pytest.mark.parametrize("words", [(), ("profiles",)])
def test_no_words_at_all_show_the_help(words: tuple[str, ...]) -> None:
    done = edgedistill(*words)
    assert "Usage:" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_version_end_well() -> None:
    for words in (("--help",), ("build", "-h"), ("--version",)):
        done = edgedistill(*words)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout


def test_verify_prints_one_json_object_on_stdout(built_copy: Path) -> None:
    done = edgedistill("verify", built_copy / "bundle", "--json")
    verdict = json.loads(done.stdout)
    assert done.returncode == {"pass": 0, "fail": 3, "unmeasured": 4}[verdict["verdict"]]
    assert verdict["verdict"].upper() in done.stderr


def test_predict_prints_a_line_an_image(built_folder: Path) -> None:
    photos = sorted((built_folder / "photos").iterdir())[:3]
    done = edgedistill("predict", built_folder / "bundle", *photos, "--json")
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["path"] for record in records] == [str(photo) for photo in photos]
    assert set(records[0]) == {"path", "label", "probability", "known", "probabilities"}
    assert records[0]["probability"] == max(records[0]["probabilities"].values())
    plain = edgedistill("predict", built_folder / "bundle", photos[0])
    assert plain.stdout.split("  ")[1] == records[0]["label"]


def test_predict_takes_the_runtime_and_the_precision_that_are_named(built_folder: Path) -> None:
    photo = sorted((built_folder / "photos").iterdir())[0]
    asked = ("predict", built_folder / "bundle", photo, "--runtime")
    done = edgedistill(*asked, "onnxruntime-cpu", "--precision", "fp32")
    assert done.returncode == 0, done.stderr
    assert_two_lines(edgedistill(*asked, "tensorflow"), "tensorflow")
    assert_two_lines(edgedistill(*asked, "onnxruntime-cpu", "--precision", "fp7"), "fp7")


def test_an_image_that_cannot_be_read_is_exit_2(built_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff not much of a photo")
    assert_two_lines(edgedistill("predict", built_folder / "bundle", tmp_path / "broken.jpg"), "broken.jpg")


def test_predict_answers_for_all_that_can_be_read(built_folder: Path, tmp_path: Path) -> None:
    good = next((built_folder / "photos").iterdir())
    (tmp_path / "bad.jpg").write_bytes(good.read_bytes()[:200])
    done = edgedistill("predict", built_folder / "bundle", tmp_path / "bad.jpg", good, "--json")
    first, second = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, first["path"], second["path"]) == (2, str(tmp_path / "bad.jpg"), str(good))
    assert first["error"] in done.stderr
    assert "label" in second


def test_a_reader_who_goes_away_changes_no_exit_code() -> None:
    command = f"{sys.executable} -u -m edgedistill profiles show cpu | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_predict_does_not_wait_on_a_pipe(built_folder: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert_two_lines(edgedistill("predict", built_folder / "bundle", tmp_path / "pipe.jpg"), "pipe.jpg")


def test_what_may_not_be_read_is_two_lines_too(built_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "templates.txt").mkdir()
    (tmp_path / "build.toml").mkdir()
    needed = ("--profile", "cpu", "--classes", built_folder / "labels.txt", "--images", built_folder / "photos")
    assert_two_lines(edgedistill("build", *needed, "--templates", tmp_path / "templates.txt"), "templates.txt")
    assert_two_lines(edgedistill("build", *needed, "--config", tmp_path / "build.toml"), "build.toml")
    assert_two_lines(edgedistill("build", *needed, "--out", built_folder / "labels.txt" / "x"), "labels.txt")


@pytest.mark.parametrize(("strict", "code"), [((), 0), (("--strict",), 4)])
def test_a_build_that_could_not_measure_is_a_failure_only_when_asked(
    built_copy: Path, tiny_teacher_folder: Path, strict: tuple[str, ...], code: int
) -> None:
    words = flags(built_copy, tiny_teacher_folder, device="folder")  # up to date: only the verdict is made anew
    done = edgedistill("build", *words, *strict, "--json")
    assert done.returncode == code, done.stderr
    verdict = json.loads(done.stdout)
    assert (verdict["verdict"], verdict["reasons"]) == ("unmeasured", ["not-reached"])
    assert "up to date" in " ".join(done.stderr.split())  # lines are broken at the terminal's width
    assert done.stderr.splitlines()[-1].startswith("Bundle: ")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "iso-8859-1"])
def test_what_cannot_be_encoded_changes_no_exit_code(built_folder: Path, tmp_path: Path, encoding: str) -> None:
    shutil.copytree(built_folder / "bundle", tmp_path / "Größe→bundle")
    photo = shutil.copy(next((built_folder / "photos").iterdir()), tmp_path / "螺栓 →.jpg")
    (tmp_path / "labels.txt").write_text("Größe → 螺栓\nwasher\n", encoding="utf-8")
    named = os.fsdecode(b"caf\xe9.jpg")  # not UTF-8
    shutil.copy(photo, tmp_path / named)

    def run(*words: object) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "edgedistill", *map(str, words)]
        environment = os.environ | {"PYTHONIOENCODING": encoding}
        done = subprocess.run(command, capture_output=True, cwd=tmp_path, env=environment, check=False)
        assert b"Traceback" not in done.stderr, done.stderr
        return done

    found = run("predict", "Größe→bundle", photo, named, "--json")
    assert found.returncode == 0, found.stderr
    assert [json.loads(line)["path"] for line in found.stdout.splitlines()] == [str(photo), named]
    assert run("predict", "Größe→bundle", photo, named).returncode == 0
    verdict = run("verify", "Größe→bundle", "--json")
    assert verdict.returncode == {"pass": 0, "fail": 3, "unmeasured": 4}[json.loads(verdict.stdout)["verdict"]]
    assert run("profiles", "list").returncode == 0
    checked = run("doctor", "--classes", "labels.txt", "--json")
    assert checked.returncode == 0, checked.stderr
    assert any("Größe → 螺栓" in finding["found"] for finding in json.loads(checked.stdout))


def test_profiles_are_listed_and_shown() -> None:
    _, *listed = edgedistill("profiles", "list").stdout.splitlines()
    assert [line.split()[0] for line in listed] == list_profiles()
    shown = json.loads(edgedistill("profiles", "show", "raspberry-pi-5", "--json").stdout)
    assert shown["budget"]["latency_p95_ms"] == 33.0
    assert "active cooling" in edgedistill("profiles", "show", "raspberry-pi-5").stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_and_sigterm_say_how_to_go_on(
    built_folder: Path, tiny_teacher_folder: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "edgedistill", "build"]
    command += flags(built_folder, tiny_teacher_folder, epochs=500, work=tmp_path / "work", out=tmp_path / "bundle")
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell hands on "ignore"
    )
    until = time.monotonic() + 120
    while not list((tmp_path / "work").glob(".distil-*.partial")):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == code
    assert "Run the same command again" in said
    assert "Traceback" not in said
