from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgedistill.distil import loop
from edgedistill.distil.card_run import CardRun
from edgedistill.distil.methods.kd import KD
from edgedistill.distil.run import Run, stalled
from edgedistill.teacher.store import TeacherStore

from .colours import IMAGES, MIX, VIEWS, config, fresh_student, lesson


def test_a_run_can_be_taken_apart_step_by_step(store: TeacherStore, tmp_path: Path) -> None:
    run = Run(fresh_student(), lesson(store, KD()), config(epochs=1), tmp_path)
    run.prepare()
    batches = list(run.batches(run.plan.epoch(0)))
    first = run.first_batch()
    assert all(torch.equal(a, b) for a, b in zip(first.tensors(), batches[0].tensors(), strict=True))
    assert [len(batch.row) for batch in batches] == [12, 12, 12, 12]
    assert run.step(batches[0], 0).keys() == {"total", "kl", "agreement", "grad_norm"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [Run, CardRun])
def test_a_training_with_mixed_views_shows_every_view_and_learns(
    mixed_store: TeacherStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Run]
) -> None:
    monkeypatch.setattr(loop, "begin", kind)
    result = loop.train(fresh_student(), lesson(mixed_store, KD()), config(epochs=8), tmp_path)
    assert result.metrics[-1]["total"] < result.metrics[0]["total"]
    plan = kind(fresh_student(), lesson(mixed_store, KD()), config(epochs=8), tmp_path).plan
    shown = {(int(r), int(v)) for e in range(8) for rows, views in plan.epoch(e) for r, v in zip(rows, views)}
    assert {view for _, view in shown} == set(range(VIEWS + MIX))


def test_a_photo_that_may_not_train_is_in_no_blend_either(mixed_store: TeacherStore, tmp_path: Path) -> None:
    """A near-copy of a check image among the store's photos: a blend with it makes way for a plain view."""
    run = Run(fresh_student(), lesson(mixed_store, KD(), images=IMAGES - 20), config(epochs=8), tmp_path)
    whole = Run(fresh_student(), lesson(mixed_store, KD()), config(epochs=8), tmp_path)
    mixed = 0
    for epoch in range(8):
        for rows, views in run.plan.epoch(epoch):
            blends = mixed_store.pixels.blends(rows, views)
            if blends is not None:
                mixed += len(blends)
                assert (blends.partner < IMAGES - 20).all()
    assert mixed > 0
    rows, views = np.repeat(np.arange(IMAGES), MIX), np.tile(np.arange(VIEWS, VIEWS + MIX), IMAGES)
    assert np.array_equal(whole._shown(rows, views), views)
    changed = run._shown(rows, views) != views
    assert (run._shown(rows, views)[changed] == views[changed] - VIEWS).all()


def test_a_store_without_mixed_views_is_planned_as_ever(store: TeacherStore, tmp_path: Path) -> None:
    assert Run(fresh_student(), lesson(store), config(), tmp_path).plan.shown is None


def test_mixed_views_are_no_views_to_blend_targets_over(mixed_store: TeacherStore, tmp_path: Path) -> None:
    assert Run(fresh_student(), lesson(mixed_store), config(), tmp_path).schedule.views == VIEWS


def test_a_stall_is_warned_about_only_where_there_is_one() -> None:
    rising, flat, good = [0.2 + 0.02 * e for e in range(30)], [0.4] * 30, [0.95] * 30
    assert stalled(flat, 50) is not None
    assert "0.40" in (stalled(flat, 50) or "")
    assert stalled(rising, 50) is None
    assert stalled(good, 50) is None
    assert stalled(flat[:8], 50) is None
