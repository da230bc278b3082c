"""run.py as a board runs it: a copied bundle, no edgedistill, and every error in two lines."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import NAMES, change_manifest, colour_model, colour_pixels, png, write_bundle, write_verdict

from edgedistill.profiles import load_profile
from edgedistill.targets import (
    cores,
    lifeline,
    load,
    machine,
    probe,
    result,
    run,
    run_verify,
    runtimes,
    state,
    steadiness,
    thread_trial,
)
from edgedistill.targets.errors import TargetError
from edgedistill.targets.length import Loop
from edgedistill.targets.manifest import Manifest, read_manifest

QUICK = ["--warmup-s", "0", "--min-s", "0", "--min-queries", "1"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "bundle"
    return write_bundle(folder, models={"fp32": colour_model(), "fp16": colour_model()})


@pytest.fixture
def copied(bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(bundle, tmp_path / "copied")


def on_the_board(bundle: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the bundle's own run.py in a process that cannot import edgedistill."""
    guard = bundle.parent / "guard"
    guard.mkdir(exist_ok=True)
    (guard / "edgedistill.py").write_text("raise ImportError('the device side imported edgedistill')\n")
    command = [sys.executable, str(bundle / "run.py"), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(guard), "OMP_NUM_THREADS": "1", "COLUMNS": "100"}
    return subprocess.run(command, capture_output=True, text=True, cwd=bundle.parent, env=environment)


def two_lines(text: str) -> tuple[str, str]:
    lines = text.strip().split("\n")
    assert len(lines) == 2
    assert lines[0].startswith("error: ")
    return lines[0], lines[1]


def test_verify_writes_a_valid_result(copied: Path) -> None:
    done = on_the_board(copied, "verify", "--model", "fp32", *QUICK, "--threads", "1")
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.name for path in (copied / "results").iterdir()] == ["fp32-onnxruntime-cpu.json"]
    found = json.loads((copied / "results" / "fp32-onnxruntime-cpu.json").read_text())
    manifest = read_manifest(copied)
    assert (found["build_id"], found["manifest_sha256"]) == (manifest.build_id, manifest.sha256)
    assert found["model"]["file"] == "models/fp32.onnx"
    assert found["model"]["sha256"] == manifest.data["files"]["models/fp32.onnx"]
    assert found["predictions"] == np.load(copied / "check" / "teacher_class.npy").tolist()
    assert found["golden"]["ok"]
    assert found["golden"]["max_abs_diff"] < 1e-5
    assert found["golden"]["pixels_max_diff"] == 0
    assert found["latency_ms"]["queries"] >= 400
    assert 0 < found["latency_ms"]["min"] <= found["latency_ms"]["p50"] <= found["latency_ms"]["p95"]
    assert found["memory_mb"]["kind"] == "rss_growth"
    assert 0 < found["memory_mb"]["peak"] < 200
    assert found["cold_start_ms"].keys() == {"load", "first"}
    assert 0 < found["latency_ms"]["p95_low"] <= found["latency_ms"]["p95"] <= found["latency_ms"]["p95_high"]
    assert found["end_to_end_ms"]["p50"] > found["latency_ms"]["min"]
    assert (found["mode"], found["runs"], found["load"], found["energy"]) == ("full", 1, None, None)
    assert found["runtime"]["threads"] == 1
    assert found["matches_profile"] is True
    assert found["invalid"] == []
    assert set(found["machine_state"]) == {"before", "during", "after"}


def test_the_fast_cores_that_threads_stay_on_are_told(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cores, "placement", lambda threads: [0])
    assert run.main(["doctor", "--bundle", str(copied)]) == 0
    assert " threads on its fast cores 0\n" in capsys.readouterr().out
    assert run.main(["verify", "--bundle", str(copied), "--model", "fp32", *QUICK, "--threads", "1"]) == 0
    assert "its threads stay on the fast cores 0\n" in capsys.readouterr().out


def test_verify_finds_by_trial_how_many_threads_are_worth_it(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[str]] = []
    run_there = lifeline.run

    def running(command: list[str]) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        return run_there(command)

    monkeypatch.setattr(lifeline, "run", running)
    monkeypatch.setattr(cores, "physical_cores", lambda: 2)
    monkeypatch.setattr(thread_trial, "medians", lambda *_: {1: 6.7, 2: 8.8})
    assert run.main(["verify", "--bundle", str(copied), "--model", "fp32", *QUICK]) == 0
    assert "1 thread: faster here than 2\n" in capsys.readouterr().out
    found = json.loads((copied / "results" / "fp32-onnxruntime-cpu.json").read_text())["runtime"]
    assert (found["threads"], found["threads_tried"]) == (1, {"1": 6.7, "2": 8.8})
    assert asked[0][-2:] == ["--threads", "1"]  # the fresh process, too


def test_one_that_was_asked_for_is_not_tried(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(thread_trial, "medians", lambda *_: pytest.fail("tried"))
    assert run.main(["verify", "--bundle", str(copied), "--model", "fp32", *QUICK, "--threads", "2"]) == 0
    found = json.loads((copied / "results" / "fp32-onnxruntime-cpu.json").read_text())["runtime"]
    assert found["threads"] == 2
    assert "threads_tried" not in found


def test_a_trial_in_earnest_measures_a_session_for_each_number(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "physical_cores", lambda: 4)
    candidate = runtimes.Candidate("fp32", "onnxruntime-cpu")
    (found,) = result.measure_candidates(read_manifest(copied), [candidate], Loop(0, 0, 1), None)
    assert list(found["runtime"]["threads_tried"]) == ["1", "2", "4"]
    assert str(found["runtime"]["threads"]) in found["runtime"]["threads_tried"]


def test_predict_takes_the_threads_that_were_measured(
    copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_verdict(copied, read_manifest(copied).build_id, "fp16", "onnxruntime-cpu", threads=1)
    (tmp_path / "x.png").write_bytes(png(np.zeros((20, 20, 3), np.uint8)))
    used: list[int | None] = []
    opened = runtimes.open_session

    def opening(manifest: Manifest, precision: str, runtime: str, threads: int | None) -> Any:
        used.append(threads)
        return opened(manifest, precision, runtime, threads)

    monkeypatch.setattr(runtimes, "open_session", opening)
    monkeypatch.setattr(cores, "physical_cores", lambda: 2)
    for flags in ([], ["--threads", "0"], ["--threads", "2"], ["--model", "fp32"]):
        assert run.main(["predict", "--bundle", str(copied), str(tmp_path / "x.png"), *flags]) == 0
    assert used == [1, 0, 2, None]


def test_doctor_says_what_would_tell_of_throttling(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for found, said in (({"firmware": {"bits": 0, "source": "vcgencmd"}}, "told by vcgencmd"), ({}, "unknown: ")):
        monkeypatch.setattr(state, "read_state", lambda found=found, **_: found)
        assert run.main(["doctor", "--bundle", str(copied)]) == 0
        assert f"{'throttling':<20} {said}" in capsys.readouterr().out


def test_verify_measures_every_candidate_and_writes_a_result_each(copied: Path) -> None:
    before = read_manifest(copied).sha256
    done = on_the_board(copied, "verify", *QUICK, "--out", "there")
    assert (done.returncode, done.stderr) == (0, "")
    found = {path.stem: json.loads(path.read_text()) for path in (copied.parent / "there").iterdir()}
    assert set(found) == {"fp32-onnxruntime-cpu", "fp16-onnxruntime-cpu"}
    for name, one in found.items():
        assert f"{one['model']['precision']}-{one['runtime']['name']}" == name
        assert one["memory_mb"]["peak"] > 0
        assert f"{name} " in done.stdout
    assert read_manifest(copied).sha256 == before


def test_on_an_emulated_processor_answers_are_checked_and_nothing_is_timed(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = dataclasses.replace(machine.read_facts(), machine="aarch64", emulated_on="x86")
    monkeypatch.setattr(machine, "read_facts", lambda *_, **__: facts)
    assert run.main(["verify", "--bundle", str(copied), "--model", "fp32"]) == 4
    out = capsys.readouterr().out
    assert out.startswith("emulated aarch64 on x86: no board")
    assert "does not count: the processor is emulated on x86: nothing was timed" in out
    found = json.loads((copied / "results" / "fp32-onnxruntime-cpu.json").read_text())
    assert found["predictions"] == np.load(copied / "check" / "teacher_class.npy").tolist()
    assert found["golden"]["ok"]
    assert found["matches_profile"] is False
    assert [flaw["code"] for flaw in found["invalid"]] == ["emulated"]
    assert {name for name, value in found["latency_ms"].items() if value} == {"batch"}
    assert found["memory_mb"]["peak"] is None
    for command in ("doctor", "bench"):
        assert run.main([command, "--bundle", str(copied)]) == {"doctor": 0, "bench": 2}[command]
    shown = capsys.readouterr()
    assert "outputs can be checked here, nothing is timed" in shown.out
    assert two_lines(shown.err)[0] == "error: this is no aarch64 processor: x86 emulates one, and its times say nothing"


def test_a_candidate_that_does_not_run_is_written_down_and_the_others_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = write_bundle(tmp_path / "bundle", models={"fp32": colour_model(), "fp16": colour_model()})
    broken = bundle / "models" / "fp16.onnx"
    broken.write_bytes(b"no graph")
    files = read_manifest(bundle, check_hashes=False).data["files"]
    change_manifest(bundle, files={**files, "models/fp16.onnx": sha256(b"no graph").hexdigest()})
    assert run.main(["verify", "--bundle", str(bundle), *QUICK]) == 0
    failed = json.loads((bundle / "results" / "fp16-onnxruntime-cpu.json").read_text())
    assert "cannot load" in failed["failed"]["wrong"]
    assert "predictions" not in failed
    assert (bundle / "results" / "fp32-onnxruntime-cpu.json").is_file()
    assert "does not run: cannot load" in capsys.readouterr().out
    assert run.main(["verify", "--bundle", str(bundle), "--model", "fp16", *QUICK]) == 2


def test_a_whole_measurement_leaves_no_older_result_beside_its_own(copied: Path) -> None:
    results = copied / "results"
    results.mkdir()
    for name in ("fp16-tensorrt.json", "notes.json"):
        (results / name).write_text("{}")
    assert run.main(["verify", "--bundle", str(copied), "--model", "fp32", *QUICK]) == 0
    assert (results / "fp16-tensorrt.json").exists()  # one candidate was asked for: the others stand
    assert run.main(["verify", "--bundle", str(copied), *QUICK]) == 0
    names = {path.name for path in results.iterdir()}
    assert names == {"fp32-onnxruntime-cpu.json", "fp16-onnxruntime-cpu.json", "notes.json"}


def test_results_do_not_go_where_a_file_is(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "results").write_text("a file")
    assert run.main(["verify", "--bundle", str(copied), *QUICK]) == 2
    assert "is a file" in two_lines(capsys.readouterr().err)[0]


def test_another_board_is_measured_only_when_asked_and_never_called_the_profiles(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle", profile="jetson-orin", models={"fp32": colour_model()})
    done = on_the_board(bundle, "verify", *QUICK)
    wrong, todo = two_lines(done.stderr)
    assert done.returncode == 2
    assert "no runtime of the profile jetson-orin works here" in wrong
    assert todo == "Install one of them, or name another: --runtime onnxruntime-cpu"
    done = on_the_board(bundle, "verify", "--runtime", "onnxruntime-cpu", *QUICK)
    assert done.returncode == 0
    found = json.loads((bundle / "results" / "fp32-onnxruntime-cpu.json").read_text())
    assert found["matches_profile"] is False
    assert found["device"]["evidence"]["compatible"]["ok"] is False


def test_the_right_board_with_another_runtime_is_not_the_profiles_number(tmp_path: Path) -> None:
    profile = load_profile("cpu").to_json()
    profile["runtime"]["prefer"] = ["tensorrt"]
    bundle = write_bundle(tmp_path / "bundle", profile=profile)
    assert run.main(["verify", "--bundle", str(bundle), "--runtime", "onnxruntime-cpu", *QUICK]) == 0
    found = json.loads((bundle / "results" / "fp32-onnxruntime-cpu.json").read_text())
    assert found["matches_profile"] is False
    assert found["device"]["evidence"]["runtime"] == {"wanted": ["tensorrt"], "found": "onnxruntime-cpu", "ok": False}


def test_wrong_outputs_make_a_result_invalid(tmp_path: Path) -> None:
    broken = colour_model(extra=np.full((3, 3), np.nan))
    bundle = write_bundle(tmp_path / "bundle", models={"fp32": broken})
    assert run.main(["--bundle", str(bundle), "verify", *QUICK]) == 4
    found = json.loads((bundle / "results" / "fp32-onnxruntime-cpu.json").read_text())
    assert found["predictions"] == [-1] * 60
    assert found["golden"]["max_abs_diff"] == 1.0
    values = {flaw["code"]: flaw["value"] for flaw in found["invalid"]}
    assert values == {"non-finite": 60, "golden": 1.0, "golden-embedding": 2.0, "golden-head": 1.0}


def test_other_answers_than_the_workshops_make_a_result_invalid(tmp_path: Path) -> None:
    swapped = colour_model(extra=np.eye(3)[[1, 0, 2]])
    bundle = write_bundle(tmp_path / "bundle", models={"fp32": swapped})
    assert run.main(["verify", "--bundle", str(bundle), *QUICK]) == 4


def test_the_workshop_measures_with_its_own_program(copied: Path, tmp_path: Path) -> None:
    for path in copied.glob("targets/*.py"):
        path.write_text("raise SystemExit('the bundle was executed')")
    files = read_manifest(copied, check_hashes=False).data["files"]
    kept = {name: digest for name, digest in files.items() if not name.startswith("targets/")}
    change_manifest(copied, files=kept)
    command = [sys.executable, "-m", "edgedistill.targets.run", "--bundle", str(copied), "verify", *QUICK]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_predict_takes_the_model_that_the_verdict_selected(copied: Path) -> None:
    manifest = read_manifest(copied)
    verdict = {"build_id": manifest.build_id, "verdict": "pass", "selected": "fp16", "runtime": {"name": "tensorrt"}}
    (copied / "verdict.json").write_text(json.dumps(verdict))
    (copied / "models" / "fp32.onnx").write_bytes(b"is not opened")
    pixels = np.full((20, 20, 3), 200, np.uint8)
    (copied / "one.png").write_bytes(png(pixels))
    done = on_the_board(copied, "predict", str(copied / "one.png"))  # TensorRT is not here: the profile's own runtime
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_predict_with_a_model_that_answers_nan_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str]
) -> None:
    bundle = write_bundle(tmp_path / "nan", models={"fp32": colour_model(extra=np.full((3, 3), np.nan))})
    (tmp_path / "x.png").write_bytes(png(np.zeros((20, 20, 3), np.uint8)))
    assert run.main(["--bundle", str(bundle), "predict", *flags, str(tmp_path / "x.png")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: the model answers with NaN")


def test_doctor_names_the_machine_the_board_and_the_next_step(copied: Path) -> None:
    done = on_the_board(copied, "doctor")
    assert (done.returncode, done.stderr) == (0, "")
    lines = {line.split("  ")[0]: line[20:].strip() for line in done.stdout.split("\n") if line}
    assert lines["onnxruntime-cpu"] == "usable"
    assert lines["tensorrt"].startswith("not usable: tensorrt cannot be imported")
    assert lines["profile"] == "cpu (Any CPU (x86-64 or arm64)): this is that board"
    assert lines["next"] == "python run.py verify"


def test_doctor_advises_only_what_starts_here(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = json.loads((copied / "manifest.json").read_text())["profile"]
    profile["runtime"]["prefer"] = ["tensorrt", "onnxruntime-cpu"]
    change_manifest(copied, profile=profile)
    lack = TargetError("TensorRT cannot start CUDA: the driver is too old", "See nvidia-smi.")
    for problems, told in (
        ({"tensorrt": None, "onnxruntime-cpu": None}, "python run.py compile, then python run.py verify"),
        ({"tensorrt": lack, "onnxruntime-cpu": None}, "python run.py verify"),
        ({"tensorrt": lack, "onnxruntime-cpu": lack}, "install one of tensorrt, onnxruntime-cpu, or name another"),
    ):
        monkeypatch.setattr(probe, "ask_all", lambda found=problems: found)
        assert run.main(["doctor", "--bundle", str(copied)]) == 0
        last = capsys.readouterr().out.strip().splitlines()[-1]
        assert last.split(maxsplit=1)[0] == "next"
        assert last.split(maxsplit=1)[1].startswith(told)
        assert (last.split(maxsplit=1)[1] == told) == (not told.startswith("install"))


def test_bench_prints_every_model_and_writes_rows(copied: Path) -> None:
    done = on_the_board(copied, "bench", *QUICK, "--json", str(copied / "rows.json"))
    assert done.returncode == 0
    rows = json.loads((copied / "rows.json").read_text())
    assert [row["figure"] for row in rows] == ["fp32 on onnxruntime-cpu, p50", "fp16 on onnxruntime-cpu, p50"]
    assert all(row["low"] <= row["value"] <= row["high"] for row in rows)
    assert [line.split()[0] for line in done.stdout.strip().split("\n")[-2:]] == ["fp32", "fp16"]


def test_a_single_stream_is_told_with_what_it_is_not(copied: Path) -> None:
    short = ("--model", "fp32", "--min-s", "0", "--json", str(copied / "rows.json"))
    done = on_the_board(copied, "bench", "--mlperf-like", *short)
    assert done.returncode == 0
    assert "not an MLPerf result" in done.stdout
    (row,) = json.loads((copied / "rows.json").read_text())
    assert row["figure"].startswith("fp32 on onnxruntime-cpu, early-stopping estimate of p90")
    assert row["value"] > 0
    assert (row["low"], row["high"]) == (None, None)


@pytest.mark.parametrize("options", [[], ["--mlperf-like"]], ids=["bench", "mlperf-like"])
def test_bench_on_a_hot_machine_does_not_count(
    copied: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], options: list[str]
) -> None:
    monkeypatch.setattr(state, "read_state", lambda gpu, threads: {"temperature_c": {"cpu": 99.0}})
    short = ["--model", "fp32", "--warmup-s", "0", "--min-s", "0", "--threads", "1"]
    assert run.main(["bench", "--bundle", str(copied), *short, *options]) == 4
    assert "does not count: too hot: cpu at 99 C" in capsys.readouterr().out


def test_bench_says_before_it_measures_where_it_cannot_write(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "file").write_text("")
    assert run.main(["bench", "--bundle", str(copied), *QUICK, "--json", str(copied / "file/rows.json")]) == 2
    assert "fp32" not in capsys.readouterr().out


def test_a_run_after_one_that_did_not_count_is_judged_by_the_turns_of_both(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first run is busy and has fast turns; the second one is quiet, but all of it slower than those."""
    loads, asked = iter([load.Load(9.0, 0.0, 0.0), *[load.Load(0.0, 0.0, 0.0)] * 2]), []
    monkeypatch.setattr(load, "load_between", lambda *asked: next(loads))
    judged = steadiness.flaws

    def flaws_of(turns: Any, earlier: Any = ()) -> Any:
        asked.append(len(earlier))
        return [found for found in judged(turns, [0.0001] * len(earlier)) if earlier]

    monkeypatch.setattr(steadiness, "flaws", flaws_of)
    short = ["--model", "fp32", "--mode", "quick", "--warmup-s", "0", "--min-s", "0.5", "--threads", "1"]
    assert run.main(["verify", "--bundle", str(copied), *short]) == 4
    assert asked == [0, 10, 20]
    found = json.loads((copied / "results" / "fp32-onnxruntime-cpu.json").read_text())
    assert [flaw["code"] for flaw in found["invalid"]] == ["unsteady"]
    assert len(found["drift"]["turns"]) == 10


def test_predict_names_the_class_of_each_image(copied: Path, tmp_path: Path) -> None:
    paths = []
    for index, name in enumerate(NAMES):
        pixels = np.zeros((30, 40, 3), np.uint8)
        pixels[..., index] = 200
        (tmp_path / f"{name}.jpg").write_bytes(png(pixels))
        paths.append(str(tmp_path / f"{name}.jpg"))
    done = on_the_board(copied, "predict", *paths)
    assert [line.split("  ")[1] for line in done.stdout.strip().split("\n")] == list(NAMES)
    done = on_the_board(copied, "predict", "--json", *paths)
    records = [json.loads(line) for line in done.stdout.strip().split("\n")]
    assert [record["path"] for record in records] == paths
    assert all(record["probabilities"][record["label"]] == record["probability"] for record in records)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["verify", "--model", "int8"], "holds no int8 model"),
        (["verify", "--runtime", "magic"], "unknown runtime 'magic'"),
        (["verify", "--threads", "-1"], "is no whole number from 0 to 1024"),
        (["verify", "--mode", "long"], "invalid choice: 'long'"),
        (["compile"], "there is nothing to compile: cpu runs on onnxruntime-cpu"),
        (["predict", "/dev/null"], "not a regular file"),
        (["predict"], "the following arguments are required: IMAGE"),
        (["polish"], "invalid choice: 'polish'"),
        ([], "the following arguments are required: COMMAND"),
    ],
)
def test_errors_are_two_lines_and_exit_2(
    bundle: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    try:
        code = run.main(["--bundle", str(bundle), *arguments])
    except SystemExit as stopped:  # argparse's own
        code = stopped.code  # type: ignore[assignment]
    captured = capsys.readouterr()
    assert code == 2
    assert said in two_lines(captured.err)[0]
    assert captured.out == ""


def test_a_damaged_bundle_is_refused_before_anything_runs(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / "check" / "images.npy").write_bytes(b"cut")
    assert run.main(["verify", "--bundle", str(copied)]) == 2
    assert "check/images.npy is not the file that was built" in capsys.readouterr().err


@pytest.mark.parametrize(
    "array", [np.zeros((3, 8, 8, 3), np.uint8), np.zeros((0, 16, 16, 3), np.uint8), np.array([None])]
)
def test_a_check_set_of_another_kind_is_refused(copied: Path, array: Any, capsys: pytest.CaptureFixture[str]) -> None:
    path = copied / "check" / "images.npy"
    np.save(path, array, allow_pickle=True)
    files = read_manifest(copied, check_hashes=False).data["files"]
    change_manifest(copied, files={**files, "check/images.npy": sha256(path.read_bytes()).hexdigest()})
    assert run.main(["verify", "--bundle", str(copied)]) == 2
    assert str(path) in two_lines(capsys.readouterr().err)[0]


def test_the_help_lists_every_command_and_hides_what_is_internal(copied: Path) -> None:
    done = on_the_board(copied, "--help")
    assert done.returncode == 0
    for command in ("doctor", "compile", "verify", "bench", "predict"):
        assert f"\n    {command} " in done.stdout
    assert "memory" not in done.stdout


def test_an_image_that_cannot_be_read_stops_none_of_the_others(copied: Path, tmp_path: Path) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    good.write_bytes(png(np.full((30, 40, 3), (0, 200, 0), np.uint8)))
    bad.write_bytes(good.read_bytes()[:60])
    done = on_the_board(copied, "predict", "--json", str(bad), str(good))
    assert done.returncode == 2
    assert two_lines(done.stderr)[0].startswith(f"error: {bad}: truncated")
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == {"path": str(bad), "error": f"{bad}: truncated"}
    assert (second["path"], second["label"]) == (str(good), "green")


def test_a_place_that_cannot_be_written_is_said_before_anything_is_measured(
    copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result, "measure_candidates", lambda *_: pytest.fail("it was measured"))
    (copied / "results").write_text("no folder")
    assert run.main(["verify", "--bundle", str(copied)]) == 2
    assert "results is a file" in two_lines(capsys.readouterr().err)[0]


def test_a_place_that_vanishes_loses_no_figure(
    copied: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk goes away between the check and the last word; what was measured is told all the same."""
    (copied / "results").mkdir()
    monkeypatch.setattr(run_verify, "_with_fresh", lambda manifest, candidate, found, options: gone(found))

    def gone(found: dict[str, Any]) -> dict[str, Any]:
        if (copied / "results").is_dir():
            (copied / "results").rmdir()
            (copied / "results").symlink_to("/proc/nowhere")
        return {**found, "memory_mb": {"peak": 1.0}, "cold_start_ms": {"load": 1.0, "first": 1.0}}

    assert run.main(["verify", "--bundle", str(copied), *QUICK, "--threads", "1"]) == 2
    said = capsys.readouterr()
    shown = [line.split()[0] for line in said.out.splitlines()[3:7:2]]
    assert shown == ["fp32-onnxruntime-cpu", "fp16-onnxruntime-cpu"]
    assert "cannot write" in two_lines(said.err)[0]


def test_a_reader_who_goes_away_is_no_error(copied: Path, tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(png(np.full((30, 40, 3), (0, 200, 0), np.uint8)))
    command = [sys.executable, str(copied / "run.py"), "predict", *[str(tmp_path / "good.png")] * 3]
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"})
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def ended(*words: str | Path, **environment: str) -> tuple[int, list[str]]:
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    return done.returncode, done.stderr.splitlines()


def test_without_numpy_it_says_what_to_install(bundle: Path) -> None:
    code, said = ended("-S", bundle / "run.py", "doctor", PYTHONPATH="")
    assert (code, len(said)) == (2, 2)
    assert said[0] == "error: No module named 'numpy'"
    assert said[1].endswith("-m pip install numpy")


@pytest.mark.parametrize("lost", ["targets", "targets/names.py", "targets/run_verify.py"])
def test_a_bundle_that_was_copied_by_half_says_so(bundle: Path, tmp_path: Path, lost: str) -> None:
    copy = tmp_path / "half"
    shutil.copytree(bundle, copy)
    shutil.rmtree(copy / lost, ignore_errors=True)
    (copy / lost).unlink(missing_ok=True)
    code, said = ended(copy / "run.py", "doctor", PYTHONPATH="")
    assert (code, len(said)) == (2, 2)
    assert said[0].startswith("error: this bundle was copied by half: ")
    assert said[1].startswith("Copy the bundle whole")


PRESSED = "import os, signal, time\nos.kill(os.getpid(), signal.SIGINT)\ntime.sleep(9)\n"


@pytest.mark.parametrize(
    ("imported", "words"),
    [("numpy", ["BUNDLE/run.py", "doctor"]), ("typer", ["-m", "edgedistill", "--help"])],
    ids=["run.py", "edgedistill"],
)
def test_ctrl_c_while_it_starts_is_one_line(bundle: Path, tmp_path: Path, imported: str, words: list[str]) -> None:
    (tmp_path / f"{imported}.py").write_text(PRESSED)
    words = [word.replace("BUNDLE", str(bundle)) for word in words]
    assert ended(*words, PYTHONPATH=str(tmp_path)) == (130, ["interrupted"])


@pytest.mark.parametrize(
    "words",
    [["BUNDLE/run.py", "predict", "PHOTO"], ["-m", "edgedistill", "predict", "BUNDLE", "PHOTO"]],
    ids=["run.py", "edgedistill"],
)
def test_ctrl_c_while_onnxruntime_loads_is_no_failure_of_its(bundle: Path, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "onnxruntime.py").write_text(
        "try:\n    raise KeyboardInterrupt\nexcept BaseException as error:\n"
        "    raise ImportError('initialization failed') from error\n"
    )
    (tmp_path / "a.png").write_bytes(png(colour_pixels(1)[0][0]))
    words = [word.replace("BUNDLE", str(bundle)).replace("PHOTO", str(tmp_path / "a.png")) for word in words]
    assert ended(*words, PYTHONPATH=str(tmp_path)) == (130, ["interrupted"])


@pytest.mark.parametrize(
    "words",
    [["BUNDLE/run.py", "predict", "PHOTO"], ["-m", "edgedistill", "predict", "BUNDLE", "PHOTO"]],
    ids=["run.py", "edgedistill"],
)
def test_answers_for_a_full_disk_are_told_in_two_lines(bundle: Path, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "a.png").write_bytes(png(colour_pixels(1)[0][0]))
    words = [word.replace("BUNDLE", str(bundle)).replace("PHOTO", str(tmp_path / "a.png")) for word in words]
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, *words], stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: the answers cannot be printed: No space left on device",
        "Make room there, or send them elsewhere.",
    ]


@pytest.mark.parametrize("command", ["run.py", "edgedistill"])
def test_an_answer_that_is_no_number_is_an_error(tmp_path: Path, command: str) -> None:
    own = write_bundle(tmp_path / "nan", models={"fp32": colour_model(extra=np.full((3, 3), np.nan))})
    (tmp_path / "a.png").write_bytes(png(colour_pixels(1)[0][0]))
    words = [own / "run.py", "predict"] if command == "run.py" else ["-m", "edgedistill", "predict", own]
    code, said = ended(*words, tmp_path / "a.png", "--json")
    assert (code, len(said)) == (2, 2)
    assert said[0] == "error: the model answers with NaN or infinity instead of numbers"


@pytest.mark.parametrize(
    "words",
    [["--threads", "x"], ["--threads", "9" * 20], ["--min-s", "nan"], ["--min-s", "inf"], ["--min-queries", "-1"]],
    ids=" ".join,
)
def test_a_number_that_cannot_be_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run.main(["verify", *words])
    said = capsys.readouterr().err.splitlines()
    assert (ended.value.code, len(said)) == (2, 2)
    assert said[0].startswith(f"error: argument {words[0]}: {words[1]!r} is no ")
