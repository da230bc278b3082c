"""Write tools/corpus: small good files of every kind that fuzz.py damages, made by our own code.

python tools/fuzz_corpus.py
"""

from __future__ import annotations

import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import bundles  # noqa: E402
import measured  # noqa: E402
from fuzz import CORPUS  # noqa: E402
from fuzz_readers import GOLDEN_CLASSES, GOLDEN_SIZE, IMAGES  # noqa: E402

from edgedistill.teacher.journal import Journal  # noqa: E402
from edgedistill.verdict.decide import decide  # noqa: E402
from edgedistill.verdict.results import read_result  # noqa: E402

LABELS = "# parts\nhex nut | nut\nbolt\nSchraube | šroub | ネジ\nball_bearing # a comment\n"
BUILD = (
    'profile = "cpu"\nclasses = "labels.txt"\nimages = "photos"\nepochs = 3\nseed = 1\nviews = 4\nmemory-budget = 500\n'
)
CARD = {
    "format": 1, "name": "mobilenetv3_small_100", "kwargs": {},
    "preprocessing": {"size": 160, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
}  # fmt: skip
RECORD = {
    "images": [{"sha256": "a" * 64, "class": "red", "kept": True, "weight": 0.5}, {"class": "blue", "kept": False}]
}


def main() -> None:
    generator = np.random.default_rng(0)
    check = measured.check_set(IMAGES)
    result = measured.result(check)
    keep("labels", "parts.txt", LABELS.encode())
    keep("profile", "cpu.toml", (ROOT / "profiles/cpu.toml").read_bytes())
    keep("build-toml", "build.toml", BUILD.encode())
    keep("result", "valid.json", json.dumps(result).encode())
    result["runtime"] |= {"threads": 1, "threads_tried": {"1": 6.7, "2": 8.8}}
    keep("result", "threads.json", json.dumps(result).encode())
    keep("result", "failed.json", json.dumps(measured.failed()).encode())
    keep("student-card", "card.json", json.dumps(CARD).encode())
    keep("synthesis-record", "record.json", json.dumps(RECORD).encode())
    keep("safetensors", "two.safetensors", save({"a": np.zeros((2, 3), np.float32), "b": np.ones(3)}, {"json": "{}"}))
    keep("golden", "two.npz", golden(generator))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = bundles.write_bundle(folder / "bundle")
        keep("manifest", "manifest.json", manifest(json.loads((bundle / "manifest.json").read_text())))
        keep("onnx", "colours.onnx", (bundle / "models/fp32.onnx").read_bytes())
        path = measured.written(folder, result)
        found = read_result(path, measured.manifest(), measured.MANIFEST_SHA256, IMAGES)
        verdict = decide(measured.manifest(), check, [found], named=True)
        keep("verdict", "one.json", json.dumps(verdict.to_json()).encode())
        keep("store-journal", "two-blocks.jsonl", journal(folder / "store"))


def manifest(table: dict[str, Any]) -> bytes:
    """A manifest with all that a verdict takes from it."""
    whole = {name: value for name, value in measured.manifest().items() if name not in table} | table
    seeds = [{"seed": seed, "agreement": 0.9, "accuracy": None} for seed in (0, 1)]
    return json.dumps(whole | {"start": {"agreement": 0.3, "accuracy": None}, "seeds": seeds, "skipped": {}}).encode()


def golden(generator: np.random.Generator) -> bytes:
    """golden.npz of two images, with the names and kinds of edgedistill/bundle/manifest.py."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        bytes=np.zeros(7, np.uint8),
        offsets=np.array([0, 3, 7]),
        pixels=generator.integers(0, 256, (2, GOLDEN_SIZE, GOLDEN_SIZE, 3), np.uint8),
        int8_probabilities=np.full((2, GOLDEN_CLASSES), 1 / 3, np.float32),
        int8_embedding=np.eye(2, 4, dtype=np.float32),
    )
    return buffer.getvalue()


def journal(folder: Path) -> bytes:
    """store.jsonl of two blocks that is not ended."""
    made = Journal.resume(folder, {"format": 1, "views": 2, "dim": 4, "seed": 0})
    for number in range(2):
        sums = dict.fromkeys(("images", "features", "pixels"), "0" * 64)
        counts = dict.fromkeys(sums, 0)
        made.append({"images": number, "bytes": counts, "sha256": sums, "skipped": {"truncated": ["ab" * 32]}})
    return (folder / "store.jsonl").read_bytes()


def keep(reader: str, name: str, data: bytes) -> None:
    folder = CORPUS / reader
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
