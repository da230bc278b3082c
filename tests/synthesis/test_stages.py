"""Synthesis as stages: block by block, filtered, a folder that is whole or not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from painter import LABELS, Painter, making
from PIL import Image
from tiny_images import write_photos

from edgedistill.errors import InputError
from edgedistill.images.pool import scan
from edgedistill.images.synthetic import RECORD, SHEET, made_in
from edgedistill.synthesis.blocks import Blocks
from edgedistill.synthesis.judge import Judge
from edgedistill.synthesis.stages import Making, synthetic_images, together
from edgedistill.work.console import SILENT
from edgedistill.work.stage import WorkFolder


@pytest.fixture
def work(tmp_path: Path) -> WorkFolder:
    return WorkFolder(tmp_path / "work")


def synthesized(work: WorkFolder, what: Making, judge: Judge) -> tuple[Path, dict[str, Any]]:
    folder = synthetic_images(work, what, judge, {"teacher": {"id": judge.teacher.files.id}}, SILENT).path
    return folder, json.loads((folder / RECORD).read_text())


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_images_that_stay_lie_in_the_folder_of_their_class(work: WorkFolder, judge: Judge) -> None:
    folder, record = synthesized(work, making(Painter()), judge)
    kept = [image for image in record["images"] if image["kept"]]
    assert len(record["images"]) == 24
    assert {image["class"] for image in kept} == set(LABELS.names)  # the tiny teacher knows what the painter paints
    assert {image["why"] for image in record["images"]} <= {"kept", "kept: hard to tell", "near-duplicate", "unsure"}
    for image in kept:
        name, _, number = image["file"].partition("/")
        assert LABELS.match(name) == LABELS.match(image["class"])
        assert number == f"{int(number[:4]):04d}.png"
        assert Image.open(folder / image["file"]).size == (40, 40)
        assert image["why"].startswith("kept")
        assert image["weight"] == image["p_class"] > 0.5 or image["why"] != "kept"
    assert record["engine"] == {"engine": "painter", "licence": "none needed"}
    assert record["diversity"]["agreement"] > 0.9
    assert Image.open(folder / SHEET).format == "JPEG"
    assert {path.name for path in folder.iterdir()} == {*LABELS.names, RECORD, SHEET, "inputs.json", "sums.json"}


def test_a_killed_synthesis_goes_on_at_its_block_and_gives_the_same_bytes(work: WorkFolder, judge: Judge) -> None:
    interrupted = Painter(fails_after=10)
    with pytest.raises(KeyboardInterrupt):
        synthesized(work, making(interrupted), judge)
    assert not [path for path in work.root.iterdir() if path.name.startswith("synthetic")]
    second = Painter()
    folder, _ = synthesized(work, making(second), judge)
    assert sorted(interrupted.asked + second.asked) == list(range(24))
    whole, _ = synthesized(WorkFolder(work.root / "other"), making(Painter()), judge)
    assert files(folder) == files(whole)


def test_what_is_made_is_not_made_again(work: WorkFolder, judge: Judge) -> None:
    first, _ = synthesized(work, making(Painter()), judge)
    idle = Painter()
    assert synthesized(work, making(idle), judge)[0] == first
    assert idle.asked == []
    other = Painter()
    assert synthesized(work, making(other, seed=1), judge)[0] != first
    assert len(other.asked) == 24


class Withholding(Painter):
    """Blacks out every image of one class, as a safety checker does."""

    def paint(self, name: str, seed: int) -> np.ndarray:
        image = super().paint(name, seed)
        return np.zeros_like(image) if name == LABELS.names[0] else image


def test_an_image_that_was_withheld_is_counted_and_does_not_stay(
    work: WorkFolder, judge: Judge, caplog: pytest.LogCaptureFixture
) -> None:
    folder, record = synthesized(work, making(Withholding()), judge)
    reasons = {image["class"]: set() for image in record["images"]}
    for image in record["images"]:
        reasons[image["class"]].add(image["why"])
    assert reasons.pop(LABELS.names[0]) == {"no image"}
    assert all("no image" not in why for why in reasons.values())
    assert list((folder / LABELS.names[0]).iterdir()) == []
    assert f"no image shows {LABELS.names[0]!r}: reword or add synonyms" in caplog.text


def test_no_image_at_all_is_an_error_with_a_way_out(work: WorkFolder, judge: Judge) -> None:
    class Black(Painter):
        def paint(self, name: str, seed: int) -> np.ndarray:
            return np.zeros((40, 40, 3), np.uint8)

    with pytest.raises(InputError, match="sees in none of 24 images what it was made to show"):
        synthesized(work, making(Black()), judge)


def test_a_disk_that_is_too_small_is_told_after_the_first_block(
    work: WorkFolder, judge: Judge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 20, (1 << 20) - 100, 100))
    painter = Painter()
    with pytest.raises(InputError, match=r"no room for .*images: .* MiB needed, 0.0 MiB free"):
        synthesized(work, making(painter), judge)
    assert len(painter.asked) == 5


def test_a_pool_of_them_holds_the_images_alone_and_knows_what_they_were_made_for(
    work: WorkFolder, judge: Judge
) -> None:
    folder, record = synthesized(work, making(Painter()), judge)
    pool, made = scan(folder), made_in(folder, LABELS)
    assert made is not None
    assert len(pool) == sum(image["kept"] for image in record["images"])
    assert pool.skipped == {}
    assert made.among(pool.hashes).all()
    weights, classes = made.row_facts(pool.hashes)
    for row in range(len(pool)):
        assert LABELS.match(Path(pool.name(row)).parts[0]) == classes[row]
    assert ((weights > 0) & (weights <= 1)).all()


def test_photos_beside_them_are_told_apart(work: WorkFolder, judge: Judge, tmp_path: Path) -> None:
    made, _ = synthesized(work, making(Painter()), judge)
    photos = write_photos(tmp_path / "photos", 12, seed=9)
    both = together(work, made, photos)
    pool, known = scan(both), made_in(both, LABELS)
    assert known is not None
    assert (~known.among(pool.hashes)).sum() == 12
    assert len(pool) == 12 + len(scan(made))
    assert together(work, made, photos) == both


def test_rows_of_blocks_and_their_features_agree(work: WorkFolder, judge: Judge, tmp_path: Path) -> None:
    what = making(Painter())
    blocks = Blocks(tmp_path, what.rows[::2])
    blocks.make(Painter(), what.prompts, 0, judge.look, SILENT)
    images = np.stack([np.asarray(Image.open(blocks.image(int(row)))) for row in blocks.rows])
    assert np.abs(blocks.features() - judge.look(images)).max() < 1e-5


def test_of_images_that_were_damaged_only_their_blocks_are_made_again(
    work: WorkFolder, judge: Judge, caplog: pytest.LogCaptureFixture
) -> None:
    folder, _ = synthesized(work, making(Painter()), judge)
    before = files(folder)
    (made,) = work.root.glob("made-*")
    whole = files(made)
    images = sorted(made.glob("*.png"))
    images[-1].write_bytes(images[-1].read_bytes()[:-1])
    (folder / SHEET).write_bytes(b"")
    painter = Painter()
    assert files(synthesized(work, making(painter), judge)[0]) == before
    assert files(made) == whole
    assert painter.asked == [20, 21, 22, 23], "the last block alone"
    assert f"{made} is damaged" in caplog.text
