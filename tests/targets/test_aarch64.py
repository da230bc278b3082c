"""The device side on aarch64, emulated. `make aarch64` makes a Python for it and names it in EDGEDISTILL_AARCH64;
without that these tests are skipped. That an emulator shows itself is tested without one in test_machine.py."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from bundles import NAMES, png, write_bundle

PYTHON = Path(os.environ.get("EDGEDISTILL_AARCH64", "none"))
pytestmark = pytest.mark.skipif(not PYTHON.is_file(), reason="make aarch64 makes the emulated Python")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("board") / "bundle")


def on_the_board(bundle: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1"}
    done = subprocess.run([str(PYTHON), *command], capture_output=True, text=True, cwd=bundle, env=environment)
    # onnxruntime looks at the host's /proc/cpuinfo for an ARM processor, and says that there is none.
    done.stderr = "".join(line for line in done.stderr.splitlines(True) if "Unknown CPU vendor" not in line)
    return done


def test_doctor_says_that_it_is_no_board_and_what_works(bundle: Path) -> None:
    done = on_the_board(bundle, "run.py", "doctor")
    assert (done.returncode, done.stderr) == (0, "")
    said = {line[:20].strip(): line[21:] for line in done.stdout.splitlines()}
    assert said["machine"].startswith("emulated aarch64 on x86, aarch64, ")
    assert said["onnxruntime-cpu"] == "usable"  # a process of its own imported it: what is started is emulated, too
    assert "no board" in said["profile"]


def test_verify_checks_every_answer_and_times_nothing(bundle: Path) -> None:
    done = on_the_board(bundle, "run.py", "verify", "--threads", "1")
    assert (done.returncode, done.stderr) == (4, "")
    found = json.loads((bundle / "results" / "fp32-onnxruntime-cpu.json").read_text())
    assert (found["device"]["machine"], found["matches_profile"]) == ("aarch64", False)
    assert found["predictions"] == np.load(bundle / "check" / "teacher_class.npy").tolist()
    assert (found["golden"]["ok"], found["golden"]["pixels_max_diff"]) == (True, 0)
    assert [flaw["code"] for flaw in found["invalid"]] == ["emulated"]
    assert (found["latency_ms"]["p95"], found["latency_ms"]["queries"]) == (None, 0)


def test_predict_names_the_class_of_a_photo(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "photo.png").write_bytes(png(np.load(bundle / "check" / "images.npy")[1]))
    done = on_the_board(bundle, "run.py", "predict", str(tmp_path / "photo.png"))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split()[1] == NAMES[1]
