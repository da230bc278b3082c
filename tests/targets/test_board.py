"""What a board has to have: Python 3.10, numpy and one runtime. Pillow only where photos are opened."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bundles import write_bundle

from edgedistill import targets

DEVICE_SIDE = Path(targets.__file__).parent
MODULES = sorted(path.stem for path in DEVICE_SIDE.glob("*.py") if path.stem != "__init__")
QUICK = ["--threads", "1", "--warmup-s", "0", "--min-s", "0", "--min-queries", "1"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("board") / "bundle")


def without_pillow(bundle: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the bundle, in a process that can import neither PIL nor edgedistill."""
    blocked = bundle.parent / "blocked"
    blocked.mkdir(exist_ok=True)
    for name in ("PIL", "edgedistill"):
        (blocked / f"{name}.py").write_text(f"raise ImportError('there is no {name} on the board')\n")
    environment = {**os.environ, "PYTHONPATH": str(blocked), "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=bundle, env=environment)


def test_every_module_is_imported_without_pillow(bundle: Path) -> None:
    lines = ["import importlib", *(f"importlib.import_module('targets.{name}')" for name in MODULES)]
    done = without_pillow(bundle, "-c", "\n".join(lines))
    assert (done.returncode, done.stderr) == (0, "")
    assert {"run", "preprocess", "ort", "trt"} <= set(MODULES)


def test_verify_measures_without_pillow_and_says_that_no_file_was_decoded(bundle: Path) -> None:
    done = without_pillow(bundle, "run.py", "verify", *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads((bundle / "results" / "fp32-onnxruntime-cpu.json").read_text())
    assert found["golden"]["ok"]
    assert found["golden"]["pixels_max_diff"] is None
    assert found["memory_mb"]["peak"] > 0


def test_bench_needs_no_pillow(bundle: Path) -> None:
    done = without_pillow(bundle, "run.py", "bench", *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].startswith("fp32 ")


def test_predict_without_pillow_says_what_to_install(bundle: Path) -> None:
    (bundle.parent / "photo.png").write_bytes(b"any")
    done = without_pillow(bundle, "run.py", "predict", "../photo.png")
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: Pillow cannot be imported: there is no PIL on the board",
        "pip install pillow",
    ]


@pytest.mark.parametrize("name", MODULES)
def test_the_language_is_python_3_10s(name: str) -> None:
    ast.parse((DEVICE_SIDE / f"{name}.py").read_text(encoding="utf-8"), feature_version=(3, 10))


def test_only_the_standard_library_numpy_a_runtime_and_pillow_are_imported() -> None:
    common = sys.stdlib_module_names | {"numpy", "onnxruntime", "PIL", "pillow_heif"}
    runtime_of = {"torch_trt": {"torch_tensorrt", "timm", "safetensors"}}  # it builds the student again
    for name in MODULES:
        allowed = common | runtime_of.get(name, set())
        for node in ast.walk(ast.parse((DEVICE_SIDE / f"{name}.py").read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                assert {alias.name.partition(".")[0] for alias in node.names} <= allowed, name
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                assert (node.module or "").partition(".")[0] in allowed, name
