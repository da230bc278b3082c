from __future__ import annotations

from pathlib import Path

import torch

from edgedistill.distil.methods.kd import KD
from edgedistill.distil.run import Run, stalled
from edgedistill.teacher.store import TeacherStore

from .colours import config, fresh_student, lesson


def test_a_run_can_be_taken_apart_step_by_step(store: TeacherStore, tmp_path: Path) -> None:
    run = Run(fresh_student(), lesson(store, KD()), config(epochs=1), tmp_path)
    run.prepare()
    batches = list(run.batches(run.plan.epoch(0)))
    first = run.first_batch()
    assert all(torch.equal(a, b) for a, b in zip(first.tensors(), batches[0].tensors(), strict=True))
    assert [len(batch.row) for batch in batches] == [12, 12, 12, 12]
    assert run.step(batches[0], 0).keys() == {"total", "kl", "agreement", "grad_norm"}
    assert list(tmp_path.iterdir()) == []


def test_a_stall_is_warned_about_only_where_there_is_one() -> None:
    rising, flat, good = [0.2 + 0.02 * e for e in range(30)], [0.4] * 30, [0.95] * 30
    assert stalled(flat, 50) is not None
    assert "0.40" in (stalled(flat, 50) or "")
    assert stalled(rising, 50) is None
    assert stalled(good, 50) is None
    assert stalled(flat[:8], 50) is None
