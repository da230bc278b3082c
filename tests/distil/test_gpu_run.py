"""A GPU's way to train, on a CPU: everything but that the step is recorded there and run as it is here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edgedistill.distil import loop
from edgedistill.distil.captured import WARM_UP_STEPS
from edgedistill.distil.gpu_run import GpuRun
from edgedistill.distil.loop import OutOfMemory, train
from edgedistill.distil.methods.base import NonFiniteLoss
from edgedistill.distil.run import TIMES
from edgedistill.distil.step import Learner
from edgedistill.teacher.store import TeacherStore
from edgedistill.work.console import SILENT

from .colours import IMAGES, config, fresh_student, lesson

BATCH = 20  # 48 images: epochs end within a step


@pytest.fixture(autouse=True)
def as_a_gpu_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "Run", GpuRun)


def metrics(folder: Path) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


class StopAfterImages:
    def __init__(self, images: int) -> None:
        self.left = images
        self.notes: list[str] = []

    def start(self, title: str, total: int) -> None: ...

    def advance(self, n: int = 1, note: str = "") -> None:
        self.notes.append(note)
        self.left -= n
        if self.left <= 0:
            raise KeyboardInterrupt

    def done(self) -> None: ...


def test_a_run_learns_as_on_a_cpu(store: TeacherStore, tmp_path: Path) -> None:
    result = train(fresh_student(), lesson(store), config(batch=BATCH, epochs=10, lr=3e-3), tmp_path)
    assert result.metrics[-1]["agreement"] >= 0.9
    assert [row["step"] for row in result.metrics] == [-(-e * IMAGES // BATCH) for e in range(1, 11)]
    saved = load_file(tmp_path / "student.safetensors")
    assert saved["backbone.bn1.num_batches_tracked"] == 10 * IMAGES / BATCH  # the warm-up counts for nothing
    assert "warm_up_s" in result.metrics[0]
    assert not any("warm_up_s" in row for row in result.metrics[1:])


def test_on_cuda_a_run_learns_and_says_what_memory_it_took(
    store: TeacherStore, tmp_path: Path, cuda: torch.device
) -> None:
    on_gpu = config(batch=BATCH, epochs=10, lr=3e-3, train_on=cuda.type)
    result = train(fresh_student(), lesson(store), on_gpu, tmp_path)
    assert result.metrics[-1]["agreement"] >= 0.9
    assert all(row["gpu_mb"] > 0 for row in result.metrics)


def test_a_run_that_goes_on_ends_as_an_unbroken_one(
    store: TeacherStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    train(fresh_student(), lesson(store), config(batch=BATCH), tmp_path / "whole")
    broken = (fresh_student(), lesson(store), config(batch=BATCH), tmp_path / "broken")
    stop = StopAfterImages(2 * IMAGES + 2 * BATCH)
    with pytest.raises(KeyboardInterrupt):
        train(*broken, stop)
    torch.rand(5)  # the process that resumes has another history
    assert len(train(*broken).metrics) == 4
    for file in ("student.safetensors", "student.json"):
        assert (tmp_path / "broken" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes()
    assert metrics(tmp_path / "broken") == metrics(tmp_path / "whole")
    assert stop.notes[1] == "epoch 1"  # nothing of it is known yet
    assert stop.notes[-1] == f"epoch 3, agreement {metrics(tmp_path / 'whole')[2]['agreement']:.3f}"


def test_a_loss_that_is_not_finite_names_part_and_step_when_the_epoch_ends(
    store: TeacherStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = GpuRun(fresh_student(), lesson(store), config(batch=BATCH), tmp_path)
    run.prepare()
    step, seen = run.step, []

    def broken(batch: Any, number: int) -> dict[str, torch.Tensor]:
        seen.append(number)
        found = step(batch, number)
        return {**found, "node": found["node"] * (torch.nan if number else 1)}

    monkeypatch.setattr(run, "step", broken)
    with pytest.raises(NonFiniteLoss, match=r"epoch 1, step 2 of 3: node = nan"):
        run.one_epoch(SILENT)
    assert seen == [0, 1, 2]


class SmallGpu:
    """Steps of a learner on a GPU whose memory holds `images` of a batch, and which fails at its step number `last`."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, images: int = IMAGES, last: int = -1, error: Exception | None = None
    ) -> None:
        self.tried: list[int] = []
        step = Learner.step

        def limited(learner: Learner, batch: Any, rates: Any) -> dict[str, torch.Tensor]:
            self.tried.append(len(batch.row))
            if len(batch.row) > images:
                raise torch.OutOfMemoryError("CUDA out of memory")
            if len(self.tried) == last:
                raise error or torch.OutOfMemoryError("CUDA out of memory")
            return step(learner, batch, rates)

        monkeypatch.setattr(Learner, "step", limited)


def test_a_batch_that_does_not_fit_is_halved_until_it_does(
    store: TeacherStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for name in ("asked", "found"):
        (tmp_path / name).mkdir()
    asked = train(fresh_student(), lesson(store), config(batch=10, epochs=2), tmp_path / "asked")
    gpu = SmallGpu(monkeypatch, images=12)
    found = train(fresh_student(), lesson(store), config(batch=40, epochs=2), tmp_path / "found")
    assert list(dict.fromkeys(gpu.tried)) == [40, 20, 10]
    assert gpu.tried.count(40) == 1
    assert found.batch == asked.batch == 10
    assert metrics(tmp_path / "found") == metrics(tmp_path / "asked")  # the header's key of the run, too
    for file in ("student.safetensors", "student.json"):
        assert (tmp_path / "found" / file).read_bytes() == (tmp_path / "asked" / file).read_bytes()
    said = [record.getMessage() for record in caplog.records if "does not hold" in record.getMessage()]
    assert [line.split(": ")[1] for line in said] == [f"training begins anew with {n}" for n in (20, 10)]


def test_a_run_on_a_small_gpu_goes_on_where_it_was(
    store: TeacherStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    SmallGpu(monkeypatch, images=12)
    arguments = (fresh_student(), lesson(store), config(batch=20), tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(*arguments, StopAfterImages(2 * IMAGES + 15))
    assert len(train(*arguments).metrics) == 4
    assert "goes on after epoch 2" in caplog.text


def test_memory_for_not_even_two_images_ends_in_two_lines(
    store: TeacherStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = SmallGpu(monkeypatch, images=1)
    with pytest.raises(OutOfMemory, match="a training step of 2 images") as caught:
        train(fresh_student(), lesson(store), config(batch=12), tmp_path)
    assert gpu.tried == [12, 6, 3, 2]
    assert "nvidia-smi" in caught.value.todo


IN_EPOCH_2 = WARM_UP_STEPS + 3 + 1


def test_memory_that_runs_out_after_an_epoch_is_not_the_batchs_fault(
    store: TeacherStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SmallGpu(monkeypatch, last=IN_EPOCH_2)
    with pytest.raises(OutOfMemory, match="ran out in epoch 2") as caught:
        train(fresh_student(), lesson(store), config(batch=BATCH), tmp_path)
    assert "run the same command" in caught.value.todo


def test_fixed_batches_are_no_larger_than_the_pool(store: TeacherStore, tmp_path: Path) -> None:
    run = GpuRun(fresh_student(), lesson(store), config(batch=1000), tmp_path)
    assert (run.batch, run.header["train_batch"], run.plan.steps) == (IMAGES, IMAGES, 4)
    assert np.array_equal(np.sort(run.plan.epoch(0)[0][0]), run.lesson.rows)
