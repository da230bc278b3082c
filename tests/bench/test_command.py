"""The command: a table on stdout, JSON with every figure, an exit code that counts, and two lines for a mistake."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundles import write_bundle
from tiny_graphs import means, saved

from edgedistill.bench.command import BenchOptions, run
from edgedistill.cli import _repeated
from edgedistill.errors import InputError


def edgedistill(*words: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgedistill", "bench", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def types(value: Any) -> Any:
    """The shape of JSON: every value replaced by its type, lists by their first item's."""
    if isinstance(value, dict):
        return {key: types(item) for key, item in value.items()}
    if isinstance(value, list):
        return [types(value[0])] if value else []
    return type(value).__name__


ROW = {
    "model": "str",
    "file": "str",
    "runtime": {"name": "str", "version": "str", "provider": "str", "threads": "int"},
    "batch": "int",
    "inputs": [{"name": "str", "dtype": "str", "shape": ["int"]}],
    "items_per_s": "float",
    "ratio": {"to": "int", "value": "float", "low": "float", "high": "float"},
    "cold_start_ms": {"load": "float", "first": "float"},
    "memory_mb": {"peak": "float", "kind": "str"},
    "accuracy": "NoneType",
    "failed": "NoneType",
}


def test_a_bundle_beside_a_graph_of_others(tmp_path: Path) -> None:
    write_bundle(tmp_path / "parts", dynamic=True)
    saved(tmp_path / "other.onnx", means(ids=("int64", ["n", 4]), x=("float16", ["n", 3])))
    words = ("parts", "other.onnx", "--batch", "8", "--threads", "1", "--mode", "quick", "--json", "found.json")
    done = edgedistill(*words, cwd=tmp_path)
    found = json.loads((tmp_path / "found.json").read_text())
    rows = found["rows"]
    assert done.returncode == (4 if any(row["invalid"] for row in rows) else 0), done.stderr
    assert [(row["model"], row["batch"]) for row in rows] == [("parts", 8), ("other", 8)]
    assert [row["ratio"]["to"] for row in rows] == [0, 0]
    for row in rows:
        assert {key: types(row[key]) for key in ROW} == ROW
        assert len(row["latency_ms"]["rounds"]) == 10
        assert row["latency_ms"]["p50"] <= row["latency_ms"]["p95"]
        assert f" {row['model']} " in done.stdout
    assert set(found) == {"schema", "device", "mode", "rows", "cpus", "other_cpus", "versions"}


def test_numbers_after_one_are_taken_for_the_same_option() -> None:
    words = ["a.onnx", "--batch", "1", "8", "16", "--threads", "2", "--json", "7", "8"]
    assert _repeated(words, ("--batch", "--threads")) == [
        *("a.onnx", "--batch", "1", "--batch", "8", "--batch", "16", "--threads", "2", "--json", "7", "8")
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("absent.onnx", "there is no absent.onnx"),
        ("bad.onnx", "cannot load"),
        ("good.onnx --runtime onnxruntime-cuda", "has no CUDAExecutionProvider"),
        ("good.onnx --runtime tensorrt", "tensorrt cannot be imported"),
        ("a.engine", "tensorrt cannot be imported"),
        ("good.onnx --input absent.npy", "cannot read"),
        ("good.onnx --shape x", "--shape is 'x'"),
        ("good.onnx --batch 0", "--batch is 0"),
        ("good.onnx --mode fast", "--mode is 'fast'"),
        ("good.onnx --plot x.pdf", "--plot cannot write x.pdf"),
        ("good.onnx --json nowhere/x.json", "there is no folder nowhere"),
        ("good.onnx --json .", ". is a folder"),
        ("good.onnx --threads 9999", "--threads is 9999"),
        ("free.onnx", "free axes"),
    ],
)
def test_a_mistake_is_two_lines_before_anything_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str, said: str
) -> None:
    saved(tmp_path / "good.onnx", means(x=("float32", ["n", 3])))
    saved(tmp_path / "free.onnx", means(x=("float32", ["n", 3, "h", "w"])))
    (tmp_path / "bad.onnx").write_bytes(b"not a graph")
    (tmp_path / "a.engine").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        run(asked(*words.split()))
    assert said in caught.value.wrong
    assert caught.value.todo


def asked(model: str, option: str = "", value: str = "") -> BenchOptions:
    """What the command line makes of `MODEL --option value`."""
    path = Path(value)
    options: dict[str, dict[str, Any]] = {
        "": {},
        "--runtime": {"runtimes": [value]},
        "--input": {"input": path},
        "--shape": {"shapes": [value]},
        "--batch": {"batches": [int(value or 0)] if option == "--batch" else ()},
        "--threads": {"threads": [int(value or 0)] if option == "--threads" else ()},
        "--mode": {"mode": value},
        "--plot": {"plot": path},
        "--json": {"json": path},
    }
    return BenchOptions(models=[Path(model)], **options[option])


def test_the_program_itself_ends_with_two_lines_and_2(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", y=np.zeros(3))
    saved(tmp_path / "good.onnx", means(x=("float32", ["n", 3])))
    done = edgedistill("good.onnx", "--input", "x.npz", "--threads", "1", "2", cwd=tmp_path)
    assert done.returncode == 2
    wrong, todo = done.stderr.strip().splitlines()
    assert wrong.startswith("error: ")
    assert "x.npz lacks x" in wrong
    assert "y: name them as inputs are" in todo
    assert done.stdout == ""
