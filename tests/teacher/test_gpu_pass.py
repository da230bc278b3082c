"""The pass as a GPU makes it, run on a CPU: what it stores is what the CPU's own pass stores."""

from __future__ import annotations

import filecmp
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_images import write_photos
from tiny_teacher import DIM

from edgedistill.errors import InputError
from edgedistill.images.pool import Pool, scan
from edgedistill.teacher import shards
from edgedistill.teacher.fill import BLOCK_IMAGES, TeacherPass, build_store
from edgedistill.teacher.gpu_pass import GpuEncoder, best_batch
from edgedistill.teacher.names import find_teacher
from edgedistill.teacher.store import TeacherStore
from edgedistill.teacher.tower import Teacher
from edgedistill.work.tally import Tally

PHOTOS, VIEWS = BLOCK_IMAGES + 30, 3
SAME = ("images.bin", "pixels.u8")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Pool:
    folder = write_photos(tmp_path_factory.mktemp("pool") / "photos", PHOTOS)
    some = sorted(folder.rglob("*.*"))[5]
    some.write_bytes(some.read_bytes()[:-200])  # its header is whole: found when it is decoded
    return scan(folder)


def work(pool: Pool, teacher: Teacher, **changes: Any) -> TeacherPass:
    return TeacherPass(**{"pool": pool, "teacher": teacher, "views": VIEWS, "seed": 1, "short_side": 40} | changes)


@pytest.fixture(scope="module")
def by_cpu(tmp_path_factory: pytest.TempPathFactory, pool: Pool, tiny_teacher: Teacher) -> Path:
    folder = tmp_path_factory.mktemp("store") / "cpu"
    build_store(folder, work(pool, tiny_teacher))
    return folder


@pytest.mark.parametrize("gpu_batch", [1, 7 * VIEWS, 1024])
def test_a_store_made_as_on_a_gpu_is_the_cpus_but_for_the_last_digits(
    tmp_path: Path, pool: Pool, tiny_teacher: Teacher, by_cpu: Path, gpu_batch: int
) -> None:
    build_store(tmp_path, work(pool, tiny_teacher, gpu_batch=gpu_batch), workers=2)
    assert filecmp.cmpfiles(tmp_path, by_cpu, SAME, shallow=False)[0] == list(SAME)
    mine, theirs = TeacherStore.open(tmp_path), TeacherStore.open(by_cpu)
    assert mine.skipped == theirs.skipped
    assert mine.skipped
    rows = np.arange(len(mine))
    cosines = (mine.all_views(rows) * theirs.all_views(rows)).sum(axis=-1)
    assert cosines[:, 0].min() > 0.99999  # the same pixels
    assert cosines.min() > 0.999  # within a grey level


def test_a_check_store_has_the_centre_view_alone(tmp_path: Path, pool: Pool, tiny_teacher: Teacher) -> None:
    build_store(tmp_path, work(pool, tiny_teacher, views=1, gpu_batch=16), workers=1)
    assert TeacherStore.open(tmp_path).views == 1


def test_a_batch_that_cannot_be_written_ends_the_pass_and_the_next_run_goes_on(
    tmp_path: Path, pool: Pool, tiny_teacher: Teacher, by_cpu: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, by_gpu = shards.Shards.close_block, work(pool, tiny_teacher, gpu_batch=8 * VIEWS)

    def full(self: shards.Shards) -> None:
        if self._journal.blocks:
            raise OSError(28, "No space left on device")
        first(self)

    monkeypatch.setattr(shards.Shards, "close_block", full)
    with pytest.raises(InputError, match="no room for"):
        build_store(tmp_path, by_gpu, workers=1)
    monkeypatch.undo()
    assert len((tmp_path / "store.jsonl").read_text().splitlines()) == 2  # what it is made from, and one block
    build_store(tmp_path, by_gpu, workers=2)
    assert filecmp.cmpfiles(tmp_path, by_cpu, SAME, shallow=False)[0] == list(SAME)
    assert json.loads((tmp_path / "store.jsonl").read_text().splitlines()[-1]).keys() == {"end"}


def test_a_folder_of_bad_files_is_refused(tmp_path: Path, pool: Pool, tiny_teacher: Teacher) -> None:
    tally = Tally("photos", PHOTOS, {"not an image": PHOTOS})
    with pytest.raises(InputError, match=f"{PHOTOS + 1} of the {2 * PHOTOS} files in photos"):
        build_store(tmp_path, work(pool, tiny_teacher, gpu_batch=64), tally=tally, workers=1)


def test_a_feature_that_is_not_finite_is_an_error(
    pool: Pool, tiny_teacher: Teacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_teacher, "image_features", lambda images: torch.full((len(images), DIM), torch.nan))
    images = [work(pool, tiny_teacher).preparation(pool.read(row)) for row in (0, 1)]
    wait = GpuEncoder(tiny_teacher, VIEWS, 1).start(images, pool.hashes[:2])
    with pytest.raises(InputError, match="non-finite image feature"):
        wait()


def test_the_batch_is_chosen_on_the_teachers_own_tower(tiny_teacher: Teacher, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgedistill.teacher.trials.BATCHES", (4, 8))
    chosen, reason = best_batch(tiny_teacher)
    assert chosen in (4, 8)
    assert "4: " in reason


def test_on_cuda_a_store_is_the_cpus_but_for_the_last_digits(
    tmp_path: Path, pool: Pool, tiny_teacher_folder: Path, by_cpu: Path, cuda: torch.device
) -> None:
    teacher = Teacher(find_teacher(f"local-dir:{tiny_teacher_folder}"), cuda.type, "float32")
    build_store(tmp_path, work(pool, teacher, gpu_batch=best_batch(teacher)[0]))
    mine, theirs = TeacherStore.open(tmp_path), TeacherStore.open(by_cpu)
    assert filecmp.cmpfiles(tmp_path, by_cpu, SAME, shallow=False)[0] == list(SAME)
    rows = np.arange(len(mine))
    assert (mine.all_views(rows) * theirs.all_views(rows)).sum(axis=-1).min() > 0.999


@pytest.mark.parametrize("gpu_batch", [1, 100, 4096])
def test_mixed_views_made_as_on_a_gpu_are_the_cpus_but_for_the_last_digits(
    tmp_path: Path, pool: Pool, tiny_teacher: Teacher, gpu_batch: int
) -> None:
    """However few views the tower takes at once: a batch is a block, or its partners would not be there."""
    for name, changes in (("cpu", {}), ("gpu", {"gpu_batch": gpu_batch})):
        build_store(tmp_path / name, work(pool, tiny_teacher, mix=2, **changes), workers=2)
    mine, theirs = (TeacherStore.open(tmp_path / name) for name in ("gpu", "cpu"))
    assert filecmp.cmpfiles(tmp_path / "gpu", tmp_path / "cpu", SAME, shallow=False)[0] == list(SAME)
    assert mine.stored_features.shape == theirs.stored_features.shape == (PHOTOS - 1, VIEWS + 2, DIM)
    assert (mine.stored_features.astype(np.float64) * theirs.stored_features).sum(axis=-1).min() > 0.999
