from __future__ import annotations

import numpy as np
import pytest
import torch

from edgedistill.distil.batches import BatchReader
from edgedistill.distil.gpu_batches import GpuReader
from edgedistill.teacher.store import TeacherStore

from .colours import MIX, SIZE, VIEWS

CPU = torch.device("cpu")
ROWS = np.random.default_rng(0).permutation(48)[:20]
TAKEN = ROWS * 3 % VIEWS


@pytest.mark.parametrize("with_mean", [False, True])
@pytest.mark.parametrize("room", [0, 10**9], ids=["all on the host", "all on the GPU"])
def test_a_gpus_batch_is_that_of_a_cpu(store: TeacherStore, room: int, with_mean: bool) -> None:
    reader = GpuReader(store, SIZE, with_mean=with_mean, device=CPU, room=room)
    batch = reader.place(reader.read(ROWS, TAKEN))
    expected = BatchReader(store=store, size=SIZE, with_mean=with_mean).read(ROWS, TAKEN)
    assert (batch.teacher.u_mean is not None) == with_mean
    for mine, theirs in zip(batch.tensors(), expected.tensors(), strict=True):
        assert mine.dtype == theirs.dtype
        grey_level = mine.dtype == torch.uint8
        torch.testing.assert_close(mine.double(), theirs.double(), rtol=0, atol=1 if grey_level else 1e-6)


@pytest.mark.parametrize("with_mean", [False, True])
@pytest.mark.parametrize("room", [0, 10**9], ids=["all on the host", "all on the GPU"])
def test_mixed_views_too_are_those_of_a_cpu(mixed_store: TeacherStore, room: int, with_mean: bool) -> None:
    views = ROWS % (VIEWS + MIX)
    assert (views >= VIEWS).any()
    reader = GpuReader(mixed_store, SIZE, with_mean=with_mean, device=CPU, room=room)
    batch = reader.place(reader.read(ROWS, views))
    expected = BatchReader(store=mixed_store, size=SIZE, with_mean=with_mean).read(ROWS, views)
    for mine, theirs in zip(batch.tensors(), expected.tensors(), strict=True):
        atol = 1 if mine.dtype == torch.uint8 else 1e-6
        torch.testing.assert_close(mine.double(), theirs.double(), rtol=0, atol=atol)
    if with_mean:
        assert batch.teacher.u_mean is not None
        same = (batch.teacher.u_mean == batch.teacher.u).all(dim=1)
        assert same.tolist() == (views >= VIEWS).tolist()


def test_features_that_fit_are_not_read_from_the_store_again(
    store: TeacherStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits, too_large = (
        GpuReader(store, SIZE, with_mean=True, device=CPU, room=room)
        for room in (store.stored_features.nbytes, store.stored_features.nbytes - 1)
    )

    def no_more(*_: object) -> None:
        raise AssertionError("read from the store")

    monkeypatch.setattr(store, "view_targets", no_more)
    assert fits.read(ROWS, TAKEN).teacher is None
    with pytest.raises(AssertionError, match="read from the store"):
        too_large.read(ROWS, TAKEN)
