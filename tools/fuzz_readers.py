"""What fuzz.py can read: for each kind of file a function that reads it as the program does, and what it may raise.

A reader is opened in a scratch folder, where whatever must lie beside the file is put once.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import measured  # noqa: E402

from edgedistill import labels, profiles, settings  # noqa: E402
from edgedistill.distil import student_card  # noqa: E402
from edgedistill.errors import EdgeDistillError  # noqa: E402
from edgedistill.images import synthetic  # noqa: E402
from edgedistill.targets import golden, manifest, onnx_file, outside, safetensors_header  # noqa: E402
from edgedistill.targets.errors import TargetError  # noqa: E402
from edgedistill.teacher import journal  # noqa: E402
from edgedistill.verdict import decide, results, verdict  # noqa: E402

TWO_LINES = (EdgeDistillError, TargetError)
IMAGES = 60
GOLDEN_SIZE, GOLDEN_CLASSES = 8, 3
NAMES = ("red", "green", "blue")


@dataclass(frozen=True)
class Reader:
    """`file`: what the file is called. `kind`: how it is damaged (fuzz_mutations.py). `read`: a folder that holds it.
    `errors`: what may come out; Unfit is made two lines by whoever calls."""

    name: str
    file: str
    kind: str
    read: Callable[[Path], Any]
    errors: tuple[type[Exception], ...] = TWO_LINES

    def open(self, folder: Path) -> Callable[[bytes], None]:
        """Reads these bytes as a file in `folder`."""
        path = folder / self.file

        def read(data: bytes) -> None:
            path.write_bytes(data)
            self.read(folder)

        return read


def _labels(folder: Path) -> None:
    found = labels.Labels.read(folder / "labels.txt")
    found.match("Red Wine")
    found.to_json()


def _config(folder: Path) -> None:
    settings.resolve({}, folder / "build.toml", {})


def _manifest(folder: Path) -> None:
    found = manifest.read_manifest(folder, check_hashes=False)
    for precision in found.precisions:
        found.model(precision)
    print(found.build_id, found.labels, found.size, found.batch, found.golden_pixel_tolerance, file=io.StringIO())
    manifest.selected_precision(found)
    decide.decide(found.data, measured.check_set(IMAGES), [], named=False)


def _result(folder: Path) -> None:
    bundle, check = measured.manifest(), measured.check_set(IMAGES)
    found = results.read_result(folder / "result.json", bundle, measured.MANIFEST_SHA256, IMAGES)
    decide.decide(bundle, check, [found], named=True)


def _verdict(folder: Path) -> None:
    of_the_device = manifest.Manifest(folder, measured.MANIFEST_SHA256, measured.manifest())
    manifest.selected_precision(of_the_device)
    manifest.selected_runtime(of_the_device)
    manifest.selected_threads(of_the_device, "Test Board", [1, 2])
    verdict.read_verdict(folder).to_json()


def _journal(folder: Path) -> None:
    found = journal.Journal.read(folder)
    if found is not None:
        found.skipped()
        found.sound_blocks(folder)


def _card(folder: Path) -> None:
    (folder / student_card.WEIGHTS).touch()
    student_card.read_card(folder)


def _record(folder: Path) -> None:
    (folder / "labels.txt").write_text("\n".join(NAMES))
    synthetic.made_in(folder, labels.Labels.read(folder / "labels.txt"))


READERS = {
    reader.name: reader
    for reader in (
        Reader("labels", "labels.txt", "text", _labels),
        Reader("profile", "cpu.toml", "toml", lambda folder: profiles.load_profile(folder / "cpu.toml")),
        Reader("build-toml", "build.toml", "toml", _config),
        Reader("manifest", "manifest.json", "json", _manifest),
        Reader("result", "result.json", "json", _result),
        Reader("verdict", "verdict.json", "json", _verdict),
        Reader("student-card", student_card.CARD, "json", _card),
        Reader("synthesis-record", synthetic.RECORD, "json", _record),
        Reader("store-journal", journal.JOURNAL, "jsonl", _journal),
        Reader(
            "golden",
            "golden.npz",
            "binary",
            lambda folder: golden.read_golden(folder / "golden.npz", "int8", GOLDEN_SIZE, GOLDEN_CLASSES),
            (outside.Unfit,),
        ),
        Reader("onnx", "model.onnx", "binary", lambda folder: onnx_file.require_onnx(folder / "model.onnx")),
        Reader(
            "safetensors",
            "weights.safetensors",
            "binary",
            lambda folder: safetensors_header.read_header(folder / "weights.safetensors"),
            (outside.Unfit,),
        ),
    )
}
