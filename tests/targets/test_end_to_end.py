"""From an image file to its answer: decoding and the query, over files that are all asked."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from bundles import SIZE, colour_pixels, png, write_bundle

from edgedistill.targets.end_to_end import from_file, golden_files
from edgedistill.targets.manifest import read_manifest
from edgedistill.targets.session import Outputs


class RecordingSession:
    """Remembers the pixels of each query."""

    def __init__(self) -> None:
        self.pixels: list[np.ndarray] = []

    def run(self, images: np.ndarray) -> Outputs:
        self.pixels.append(images)
        return Outputs(np.ones((1, 3), np.float32), np.ones((1, 2), np.float32), np.ones(1, np.float32))

    def warm_up(self, seconds: float) -> None:
        raise AssertionError("it was warmed up before")


def test_every_file_of_the_golden_set_is_decoded_resized_and_asked_about(tmp_path: Path) -> None:
    files = golden_files(read_manifest(write_bundle(tmp_path / "bundle")))
    pixels, _ = colour_pixels(60)
    assert files == [png(image) for image in pixels[:4]]
    asked = RecordingSession()
    found = from_file(asked, files, SIZE, seconds=0)
    assert found is not None
    assert found["queries"] == len(asked.pixels) == 8
    assert 0 < found["p50"] <= found["p90"]
    for image, query in zip(pixels[:4], asked.pixels):
        assert (query == image[None]).all()


def test_where_a_file_cannot_be_decoded_there_is_no_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert from_file(RecordingSession(), [b"no image"], SIZE) is None
    file = png(colour_pixels(1)[0][0])
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.delitem(sys.modules, "edgedistill.targets.preprocess", raising=False)
    assert from_file(RecordingSession(), [file], SIZE) is None
