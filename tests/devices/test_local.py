"""Measuring a bundle here: every candidate on the right machine, agreement on the wrong one, the way to the board."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import tiny_bundle

from edgedistill.bundle.write import write_bundle
from edgedistill.devices import local
from edgedistill.devices.folder import Folder
from edgedistill.devices.local import QUICK, Local
from edgedistill.devices.measurement import Measurement
from edgedistill.errors import InputError
from edgedistill.profiles import Profile
from edgedistill.targets.flaws import Flaw
from edgedistill.targets.manifest import read_manifest
from edgedistill.verdict.verdict import Verdict, read_verdict
from edgedistill.verdict.verify import verify
from edgedistill.work.atomic import sha256_file
from edgedistill.work.scratch import PREFIX

ONE_THREAD = ("--threads", "1")


def built(folder: Path, board: Profile | None = None, images: int = 60) -> Path:
    return write_bundle(folder / "parts bundle", tiny_bundle.parts(images, board))


def measured(bundle: Path, *results: Path) -> Verdict:
    verdict = verify(bundle, None, results, asked=Measurement(threads=1))
    written = (bundle / "verdict.json").read_text()
    assert str(bundle.parent) not in written  # its lines call the bundle by its folder's name
    lines = tuple(line.replace(str(bundle), bundle.name) for line in verdict.next)
    assert read_verdict(bundle) == replace(verdict, next=lines)
    read_manifest(bundle)  # measuring changes no listed file
    return verdict


def board_lines(bundle: Path) -> tuple[str, ...]:
    return Folder().next_steps(read_manifest(bundle), unstable=False)


def test_the_profile_of_this_machine_gets_a_verdict(tmp_path: Path) -> None:
    verdict = measured(built(tmp_path))
    assert (verdict.verdict, verdict.reasons, verdict.over) == ("pass", (), ())
    assert verdict.agreement.value == 1.0
    assert verdict.device.matches_profile is True
    assert verdict.latency_ms.queries >= 400
    assert verdict.memory_mb.kind == "rss_growth"
    assert verdict.next == ()


def test_a_budget_that_cannot_be_met_fails(tmp_path: Path) -> None:
    board = tiny_bundle.profile()
    board = replace(board, budget=replace(board.budget, latency_p95_ms=0.0001))
    verdict = measured(built(tmp_path, board))
    assert (verdict.verdict, verdict.exit_code) == ("fail", 3)
    assert [over.figure for over in verdict.over] == ["latency"]


def test_every_model_of_the_bundle_is_measured_though_the_profile_names_one(tmp_path: Path) -> None:
    board = tiny_bundle.profile()
    verdict = measured(built(tmp_path, replace(board, model=replace(board.model, precisions=("fp16",)))))
    found = [row for row in verdict.precision_candidates if row.latency_ms]
    assert {row.precision for row in found} == {"fp16", "fp32"}
    (chosen,) = [row for row in found if row.selected]
    assert (verdict.verdict, verdict.selected) == ("pass", chosen.precision)
    assert not chosen.kept_back
    results = sorted(path.name for path in (tmp_path / "parts bundle" / "results").iterdir())
    assert results == ["fp16-onnxruntime-cpu.json", "fp32-onnxruntime-cpu.json"]


def test_another_machine_shows_agreement_under_its_own_name_and_decides_nothing(tmp_path: Path) -> None:
    bundle = built(tmp_path, tiny_bundle.profile("jetson-orin"))
    verdict = measured(bundle)
    assert (verdict.verdict, verdict.reasons, verdict.selected) == ("unmeasured", ("not-reached",), "fp32")
    assert verdict.agreement.value == 1.0
    assert verdict.device.name
    assert verdict.device.matches_profile is False
    assert verdict.runtime.name == "onnxruntime-cpu"
    assert any(line.startswith("scp -r ") for line in verdict.next)
    result = bundle / "results/elsewhere/fp32-onnxruntime-cpu.json"
    assert list((bundle / "results").rglob("*.json")) == [result]  # apart from what a board will write
    assert measured(bundle, result).reasons == ("wrong-board",)  # named by the user as the board


def test_the_right_machine_without_its_runtime_is_never_measured_on_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    board = tiny_bundle.profile("cuda")
    board = replace(
        board,
        identify=replace(
            board.identify, gpu=False, min_compute_capability=None, not_compatible=(), machine=(platform.machine(),)
        ),
        runtime=replace(board.runtime, prefer=("tensorrt",)),
    )
    with caplog.at_level(logging.WARNING, logger="edgedistill"):
        verdict = measured(built(tmp_path, board))
    assert (verdict.verdict, verdict.reasons) == ("unmeasured", ("not-reached",))
    assert "tensorrt" in caplog.text.lower()


def test_a_result_of_another_build_is_refused(tmp_path: Path) -> None:
    one, other = built(tmp_path / "one"), built(tmp_path / "other", images=61)
    measured(one)
    with pytest.raises(InputError, match="another bundle"):
        verify(other, None, [one / "results"])


def test_a_bundle_left_to_its_board_is_not_run_here(tmp_path: Path) -> None:
    bundle = built(tmp_path)
    verdict = verify(bundle, Folder())
    assert (verdict.verdict, verdict.reasons, verdict.agreement) == ("unmeasured", ("not-reached",), None)
    assert verdict.next == board_lines(bundle)
    assert not (bundle / "results").exists()


def test_a_folder_of_results_decides_like_the_measurement_itself(tmp_path: Path) -> None:
    bundle = built(tmp_path)
    (bundle / "results").mkdir()
    (bundle / "results" / "fp16-tensorrt.json").write_text("left by an earlier measurement")
    here = measured(bundle)
    assert measured(bundle, bundle / "results") == here
    with pytest.raises(InputError, match="results were given and a device"):
        verify(bundle, Local(), [bundle / "results"])


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "check.json"])
def test_check_images_that_the_manifest_does_not_list_are_not_used(tmp_path: Path, name: str) -> None:
    bundle = built(tmp_path)
    table = json.loads((bundle / "manifest.json").read_text())
    del table["files"][f"check/{name}"]
    (bundle / "manifest.json").write_text(json.dumps(table))
    (bundle / "check" / name).unlink()
    os.mkfifo(bundle / "check" / name)  # which would be waited for
    with pytest.raises(InputError, match=f"does not list check/{name}"):
        verify(bundle, Folder())


def test_too_few_images_ask_for_more_of_them_and_not_for_a_board(tmp_path: Path) -> None:
    verdict = measured(built(tmp_path, images=20))
    assert verdict.reasons == ("too-few-images",)
    assert "50 images" in verdict.next[0]
    assert not any("scp" in line for line in verdict.next)


def test_an_unsound_run_asks_for_another_where_it_was(tmp_path: Path) -> None:
    board = tiny_bundle.profile()
    bundle = built(tmp_path, replace(board, measure=replace(board.measure, min_queries=10**9)))
    elsewhere = measured(bundle, *local.verify(bundle, tmp_path / "results", *ONE_THREAD, *QUICK))
    assert elsewhere.reasons == ("unstable",)
    assert elsewhere.next == board_lines(bundle)
    here = Local().next_steps(read_manifest(bundle), unstable=True)
    assert here[-1] == f"edgedistill verify {shlex.quote(str(bundle))}"


VCGENCMD = """#!/bin/sh
echo >> {asked}
test $(wc -l < {asked}) -le {throttled} && echo throttled=0x4 || echo throttled=0x0
"""


QUESTIONS = 12  # of a run with one candidate: before it, after each of ten turns, and at its end


@pytest.mark.parametrize("throttled_runs", [0, 2, 3])
def test_a_run_that_throttled_is_made_up_to_three_times_and_the_last_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, throttled_runs: int
) -> None:
    asked, tool = tmp_path / "asked", tmp_path / "bin" / "vcgencmd"  # a Raspberry Pi's tool, which throttles so long
    tool.parent.mkdir()
    tool.write_text(VCGENCMD.format(asked=shlex.quote(str(asked)), throttled=QUESTIONS * throttled_runs))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    with caplog.at_level(logging.WARNING, logger="edgedistill"):
        (path,) = local.verify(built(tmp_path), tmp_path / "results", "--model", "fp32", *ONE_THREAD, *QUICK)
    result = json.loads(path.read_text())
    again = min(throttled_runs, 2)
    assert caplog.messages == ["the measurement does not count and is made again: throttled: throttled"] * again
    assert (result["mode"], result["runs"]) == ("full", again + 1)
    assert result["invalid"] == ([Flaw("throttled", "throttled").to_json()] if throttled_runs == 3 else [])


def test_a_damaged_bundle_is_not_measured(tmp_path: Path) -> None:
    bundle = built(tmp_path)
    (bundle / "models/fp32.onnx").write_bytes(b"damaged")
    with pytest.raises(InputError, match=r"fp32\.onnx"):
        verify(bundle)
    assert not (bundle / "verdict.json").exists()


def test_what_run_py_says_reaches_the_user(tmp_path: Path) -> None:
    bundle = built(tmp_path)
    with pytest.raises(InputError) as raised:
        local.verify(bundle, tmp_path / "results", "--model", "int8")
    assert "int8" in raised.value.wrong
    assert "fp32" in raised.value.todo


def test_the_bundles_own_program_is_not_run_by_the_workshop(tmp_path: Path) -> None:
    bundle = built(tmp_path)
    for path in [bundle / "run.py", *(bundle / "targets").iterdir()]:
        path.write_text("raise SystemExit('a stranger was here')")
    manifest = json.loads((bundle / "manifest.json").read_text())
    for name in manifest["files"]:
        manifest["files"][name] = sha256_file(bundle / name)
    (bundle / "manifest.json").write_text(json.dumps(manifest))
    assert measured(bundle).verdict == "pass"


SCP = """#!{python}
import os, shutil, sys
assert sys.argv[1] == "-r"
source, target = (word.replace("USER@BOARD:", os.environ["BOARD_HOME"] + "/") for word in sys.argv[2:])
shutil.copytree(source, os.path.join(target, os.path.basename(source)), dirs_exist_ok=True)
"""


def test_the_lines_for_the_board_work_as_they_are_printed(tmp_path: Path) -> None:
    """Runs them in a shell, with an scp that copies to another folder and a board that has no edgedistill."""
    tools, home, hidden = tmp_path / "bin", tmp_path / "board", tmp_path / "hidden"
    for folder in (tools, home, hidden):
        folder.mkdir()
    (tools / "scp").write_text(SCP.format(python=sys.executable))
    (tools / "python3").write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    (tools / "edgedistill").write_text(
        f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -c 'from edgedistill.cli import main; main()' \"$@\"\n"
    )
    for tool in tools.iterdir():
        tool.chmod(0o755)
    (hidden / "edgedistill.py").write_text("raise ImportError('not installed on the board')")
    bundle = built(tmp_path)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}", "BOARD_HOME": str(home)}
    codes = []
    for line in board_lines(bundle):
        if line.startswith("#"):
            there = line.startswith("# there")
            folder = home if there else tmp_path
        elif line.startswith("cd "):
            folder = folder / shlex.split(line)[1]
        else:
            path = {"PYTHONPATH": str(hidden)} if there else {}
            ran = subprocess.run(line, shell=True, cwd=folder, env={**environment, **path}, check=False)
            codes.append(ran.returncode)
    assert codes == [0, 0, 0, 0]
    assert read_verdict(bundle).verdict == "pass"
    assert (home / "parts bundle" / "results" / "fp32-onnxruntime-cpu.json").is_file()


def test_a_tensorrt_board_is_told_to_compile_first(tmp_path: Path) -> None:
    lines = board_lines(built(tmp_path, tiny_bundle.profile("jetson-orin")))
    commands = [line for line in lines if not line.startswith("#")]
    assert commands[1:4] == [
        "cd 'parts bundle'",
        "python3 run.py compile",
        "python3 run.py verify",
    ]


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks at processes in /proc")
def test_after_kill_9_nothing_measures_on_and_the_next_run_clears_up(tmp_path: Path) -> None:
    bundle, temporary = built(tmp_path), tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-m", "edgedistill", "verify", str(bundle)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, env={**os.environ, "TMPDIR": str(temporary)})
    wait_until(lambda: any(words[2:4] == ["edgedistill.targets.run", "verify"] for words in running(bundle)))
    process.kill()
    process.wait()
    wait_until(lambda: not running(bundle))
    assert list(temporary.iterdir()) == []
    assert [path.name for path in (bundle / "results").iterdir() if not path.name.startswith(PREFIX)] == []
    measured(bundle)
    assert [path.name for path in (bundle / "results").iterdir() if path.suffix != ".json"] == []


def running(bundle: Path) -> list[list[str]]:
    """The command lines of processes that name the bundle."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            found.append(path.read_bytes().decode(errors="replace").split("\0"))
    return [words for words in found if str(bundle) in words]


def wait_until(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_link_for_the_results_of_another_machine_is_not_followed(tmp_path: Path) -> None:
    bundle = built(tmp_path, tiny_bundle.profile("jetson-orin"))
    (tmp_path / "outside").mkdir()
    (bundle / "results").mkdir(exist_ok=True)
    (bundle / "results/elsewhere").symlink_to(tmp_path / "outside")
    with pytest.raises(InputError, match="is a link that leaves the bundle"):
        verify(bundle)
    assert not list((tmp_path / "outside").iterdir())
