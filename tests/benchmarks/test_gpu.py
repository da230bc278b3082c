"""benchmarks/gpu.py: a part whose runtime is not here is not run, and what `run.py verify` wrote becomes rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bundles import write_bundle

from edgedistill.targets.names import CUDA, TENSORRT
from edgedistill.targets.runtimes import problem

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gpu


def started(out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, gpu.__file__, "--out", str(out), "--quick", *options]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


@pytest.mark.skipif(problem(CUDA) is None or problem(TENSORRT) is None, reason="one of the runtimes is here")
def test_a_part_whose_runtime_is_not_here_is_not_run_and_no_failure(tmp_path: Path) -> None:
    done = started(tmp_path, "--only", "verify", "compile", "io_binding")
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stdout.splitlines() if line.startswith("not run: ")]
    assert [line.split(": ")[1] for line in said] == [
        *("verify onnxruntime-cuda", "compile tensorrt", "verify tensorrt", "io_binding")
    ]
    assert "CUDAExecutionProvider" in said[0]
    assert json.loads((tmp_path / "gpu.json").read_text()) == []


def test_a_bundle_is_verified_and_its_session_compared_with_a_bound_one(tmp_path: Path) -> None:
    """With the processor's runtime, by the same two processes that a GPU's takes."""
    write_bundle(tmp_path / "bundle-cuda", profile="cuda")
    done = started(tmp_path, "--train-on", "cpu", "--only", "verify", "io_binding")
    rows = {row["figure"]: row for row in json.loads((tmp_path / "gpu.json").read_text())}
    golden = rows["verify fp32-onnxruntime-cpu: golden answers, of what is allowed"]
    assert (golden["bar"], golden["met"], golden["command"]) == ("<= 1", True, "sh benchmarks/gpu.sh")
    assert rows["verify fp32-onnxruntime-cpu: p50"]["value"] > 0
    assert rows["onnxruntime-cpu, bound / plain"]["unit"] == "ratio"
    assert "not run: verify tensorrt: " in done.stdout or problem(TENSORRT) is None


def result(folder: Path, **changed: Any) -> gpu.Part:
    golden = {"max_abs_diff": 1e-4, "tolerance": 1e-3, "embedding_max_diff": None, "embedding_limit": 1e-2}
    golden |= {"head_max_diff": 5e-4, "head_limit": 1e-3}
    found = {"golden": golden, "latency_ms": {"p50": 1.5}, "invalid": [], "runtime": {"tf32": "off"}, **changed}
    (folder / "fp16-onnxruntime-cuda.json").write_text(json.dumps(found))
    return gpu.Part("verify onnxruntime-cuda", [], 1, results=folder)


def test_what_does_not_run_or_count_or_may_be_tf32_is_said(tmp_path: Path) -> None:
    rows, troubles = gpu.verify_rows(result(tmp_path))
    assert ([row["value"] for row in rows], troubles) == ([0.5, 1.5], [])
    flaws = [{"code": "hot"}]
    rows, troubles = gpu.verify_rows(result(tmp_path, invalid=flaws, runtime={"tf32": "on, it is not 0"}))
    assert (len(rows), troubles) == (2, ["verify fp16-onnxruntime-cuda: hot, TF32 is not off"])
    rows, troubles = gpu.verify_rows(result(tmp_path, failed={"wrong": "no memory", "todo": "Close others."}))
    assert (rows, troubles) == ([], ["verify fp16-onnxruntime-cuda: no memory"])
