from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from edgedistill.distil import loop
from edgedistill.distil.gpu_run import GpuRun
from edgedistill.distil.methods.data_free import DataFree
from edgedistill.distil.methods.kd import KD
from edgedistill.distil.methods.prg import PRG
from edgedistill.distil.run import Run, stalled
from edgedistill.teacher.fill import TeacherPass, build_store
from edgedistill.teacher.row_facts import RowFacts
from edgedistill.teacher.store import TeacherStore
from edgedistill.work.console import SILENT

from .colours import IMAGES, MIX, VIEWS, ColourTeacher, Photos, config, fresh_student, lesson


def test_a_run_can_be_taken_apart_step_by_step(store: TeacherStore, tmp_path: Path) -> None:
    run = Run(fresh_student(), lesson(store, KD()), config(epochs=1), tmp_path)
    run.prepare()
    batches = list(run.batches(run.plan.epoch(0)))
    first = run.first_batch()
    assert all(torch.equal(a, b) for a, b in zip(first.tensors(), batches[0].tensors(), strict=True))
    assert [len(batch.row) for batch in batches] == [12, 12, 12, 12]
    assert run.step(batches[0], 0).keys() == {"total", "kl", "agreement", "grad_norm"}
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", [Run, GpuRun])
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


@pytest.fixture
def with_facts(tmp_path: Path) -> TeacherStore:
    """A store whose rows have weights and prompt classes; every third counts for nothing."""
    build_store(tmp_path / "store", TeacherPass(Photos(IMAGES), ColourTeacher(), seed=0, views=VIEWS, short_side=37))
    rows = np.arange(IMAGES)
    RowFacts(rows % 3 / 2, rows % 4 - 1).save(tmp_path / "store")
    return TeacherStore.open(tmp_path / "store")


@pytest.mark.parametrize("kind", [Run, GpuRun])
def test_what_a_store_knows_of_its_rows_reaches_the_method(
    with_facts: TeacherStore, tmp_path: Path, kind: type[Run]
) -> None:
    run = kind(fresh_student(), lesson(with_facts, DataFree()), config(epochs=1), tmp_path)
    run.prepare()
    batch = run.first_batch()
    assert batch.teacher.weight is not None
    assert batch.teacher.prompt_class is not None
    assert torch.equal(batch.teacher.weight, (batch.row % 3 / 2).float())
    assert torch.equal(batch.teacher.prompt_class, batch.row % 4 - 1)


def test_other_weights_are_another_run(with_facts: TeacherStore, store: TeacherStore, tmp_path: Path) -> None:
    keys = {Run(fresh_student(), lesson(s, KD()), config(), tmp_path).key for s in (with_facts, store)}
    assert len(keys) == 2


@pytest.mark.parametrize("method", [PRG(student_proxies="centroids"), PRG(student_proxies="classifier")])
def test_what_a_method_remembers_and_learns_survives_an_interruption(
    store: TeacherStore, tmp_path: Path, method: PRG
) -> None:
    """Two epochs, a checkpoint, two more: the same losses as four epochs in one go."""
    lines = []
    for folder, stop in (("whole", None), ("broken", 2)):
        (tmp_path / folder).mkdir()
        run = Run(fresh_student(), lesson(store, method), config(), tmp_path / folder)
        run.prepare()
        while run.epoch < run.epochs:
            run.one_epoch(SILENT)
            if run.epoch == stop:
                run.checkpoint()
                run = Run(fresh_student(), lesson(store, method), config(), tmp_path / folder)
                run.resume()
                run.prepare()
        lines.append([(row["total"], row["edge"]) for row in run.metrics])
    assert lines[0] == lines[1]
    names = set(run.learner.tensors())
    assert {f"method.{name}" for name in run.learner.state.changing()} <= names
