from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from edgedistill.distil import loop as training
from edgedistill.distil.evaluate import evaluate
from edgedistill.distil.loop import TrainResult, train
from edgedistill.distil.methods.base import Method, NonFiniteLoss
from edgedistill.distil.methods.embedding import Embedding
from edgedistill.distil.methods.kd import KD
from edgedistill.distil.methods.prg import PRG
from edgedistill.distil.run import TIMES
from edgedistill.distil.student import Student
from edgedistill.distil.student_files import load_student
from edgedistill.errors import InputError
from edgedistill.teacher.store import TeacherStore

from .colours import DIM, IMAGES, SIZE, classes, config, fresh_student, lesson


def run(
    store: TeacherStore, folder: Path, method: Method | None = None, student: Student | None = None, **changes: Any
) -> TrainResult:
    folder.mkdir(exist_ok=True)
    return train(student or fresh_student(), lesson(store, method), config(**changes), folder)


def metrics(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without its times."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows]


class StopAfter:
    """Progress that ends the run, as Ctrl-C does, once it has seen so many images."""

    def __init__(self, images: int) -> None:
        self.left = images

    def start(self, title: str, total: int) -> None: ...

    def advance(self, n: int = 1, note: str = "") -> None:
        self.left -= n
        if self.left <= 0:
            raise KeyboardInterrupt

    def done(self) -> None: ...


def test_same_seed_same_bytes_and_another_seed_others(store: TeacherStore, tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(store, tmp_path / name, seed=seed, epochs=2)
    weights = [(tmp_path / name / "student.safetensors").read_bytes() for name in "abc"]
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]
    assert metrics(tmp_path / "a") == metrics(tmp_path / "b")


@pytest.mark.parametrize("epochs", [1, 3])
def test_an_interrupted_run_goes_on_to_the_same_bytes(
    store: TeacherStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, epochs: int
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run(store, whole, interpolation=0.5)
    broken.mkdir()
    arguments = (fresh_student(), lesson(store), config(interpolation=0.5), broken)
    with pytest.raises(KeyboardInterrupt):
        train(*arguments, StopAfter(epochs * IMAGES + 20))
    assert not (broken / "student.safetensors").exists()
    torch.rand(5)  # the process that resumes has another history
    result = train(*arguments)
    for file in ("student.safetensors", "student.json"):
        assert (broken / file).read_bytes() == (whole / file).read_bytes()
    assert metrics(broken) == metrics(whole)
    assert len(result.metrics) == 4
    assert f"goes on after epoch {epochs}" in caplog.text
    assert not (broken / "checkpoint.safetensors").exists()


def test_a_finished_run_is_read_back_and_another_ones_result_is_not(store: TeacherStore, tmp_path: Path) -> None:
    first = run(store, tmp_path, epochs=2)
    written = (tmp_path / "student.safetensors").stat().st_mtime_ns
    again = run(store, tmp_path, epochs=2)
    assert (tmp_path / "student.safetensors").stat().st_mtime_ns == written
    assert again.metrics == first.metrics
    assert all(torch.equal(v, first.student.state_dict()[k]) for k, v in again.student.state_dict().items())
    run(store, tmp_path, epochs=2, seed=1)
    assert (tmp_path / "student.safetensors").stat().st_mtime_ns > written


@pytest.mark.parametrize("spoil", ["settings", "bytes", "bit"])
def test_a_checkpoint_of_another_run_or_a_damaged_one_is_not_used(
    store: TeacherStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, spoil: str
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    before = config(lr=2e-3) if spoil == "settings" else config()
    with pytest.raises(KeyboardInterrupt):
        train(fresh_student(), lesson(store), before, tmp_path, StopAfter(3 * IMAGES))
    checkpoint = tmp_path / "checkpoint.safetensors"
    if spoil == "bytes":
        checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
    if spoil == "bit":
        checkpoint.write_bytes(checkpoint.read_bytes()[:-1] + b"\x01")
    run(store, tmp_path)
    run(store, tmp_path / "clean")
    assert "training starts again" in caplog.text
    assert metrics(tmp_path) == metrics(tmp_path / "clean")


@pytest.mark.parametrize("method", [PRG(), PRG(edge_loss="col"), KD(), Embedding()], ids=str)
def test_a_student_learns_what_the_teacher_sees(store: TeacherStore, tmp_path: Path, method: Method) -> None:
    _, vectors = classes()
    result = run(store, tmp_path, method, epochs=12, lr=3e-3)
    rows = np.arange(len(store))
    images = store.pixels.crops(rows, np.zeros_like(rows), SIZE).numpy()
    teacher = (store.centre() @ vectors.baked.T).argmax(1)
    assert len(set(teacher.tolist())) == 3
    trained = (evaluate(result.student, images, vectors.baked) == teacher).mean()
    assert trained >= 0.95
    assert trained > (evaluate(fresh_student(), images, vectors.baked) == teacher).mean() + 0.3
    assert result.metrics[-1]["total"] < 0.5 * result.metrics[0]["total"]


def test_metrics_name_what_was_run_and_every_part(store: TeacherStore, tmp_path: Path) -> None:
    result = run(store, tmp_path, PRG(gamma=0.1), epochs=2)
    header, *rows = metrics(tmp_path)
    assert (header["method"], header["gamma"], header["train_batch"], header["threads"]) == ("prg", 0.1, 12, 1)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert {"total", "node", "feature", "edge", "ce", "agreement", "grad_norm", "lr"} <= set(rows[0])
    assert (result.batch, result.epochs, result.device, result.dtype) == (12, 2, "cpu", "float32")


def test_the_student_file_is_the_moving_average_with_the_last_batchnorm_statistics(
    store: TeacherStore, tmp_path: Path
) -> None:
    start = fresh_student()
    result = run(store, tmp_path, student=start)
    saved = load_file(tmp_path / "student.safetensors")
    assert not result.student.training
    assert all(torch.equal(saved[k], v) for k, v in result.student.state_dict().items())
    assert saved["backbone.bn1.num_batches_tracked"] == 4 * 4
    assert (start.backbone.bn1.running_var == 1).all()  # type: ignore[union-attr,operator]


def test_a_folded_start_gets_its_batchnorm_back_before_training(store: TeacherStore, tmp_path: Path) -> None:
    folded = fresh_student()
    for module in folded.backbone.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.bias, 0.1, 0.5)
    result = run(store, tmp_path, student=folded, epochs=1, lr=1e-7, head_lr=1e-7)
    images = store.pixels.crops(np.arange(16), np.zeros(16, np.int64), SIZE)
    with torch.inference_mode():
        before, after = folded.eval().backbone(folded.normalise(images)), result.student(images)[0]
    assert torch.nn.functional.cosine_similarity(before, after).mean() > 0.9
    assert (result.student.backbone.bn1.weight != 1).any()  # type: ignore[union-attr,operator]


def test_pretrained_weights_are_trained_more_gently_than_fresh_ones(store: TeacherStore, tmp_path: Path) -> None:
    run(store, tmp_path / "fresh", epochs=1)
    start, _ = load_student(tmp_path / "fresh", dim=DIM, teacher_hash="c0", size=SIZE)
    run(store, tmp_path / "tuned", student=start, epochs=1)
    run(store, tmp_path / "asked", student=start, epochs=1, lr=2e-3)
    assert [metrics(tmp_path / name)[0]["train_lr"] for name in ("fresh", "tuned", "asked")] == [1e-3, 1e-4, 2e-3]


def statistics(student: Student) -> dict[str, torch.Tensor]:
    return {k: v.clone() for k, v in student.backbone.state_dict().items() if "running_" in k}


def test_a_pretrained_backbone_keeps_its_statistics_and_a_fresh_one_takes_the_pools(
    store: TeacherStore, tmp_path: Path
) -> None:
    fresh = fresh_student()
    first = run(store, tmp_path / "fresh", student=fresh, epochs=1).student
    start, _ = load_student(tmp_path / "fresh", dim=DIM, teacher_hash="c0", size=SIZE)
    tuned = run(store, tmp_path / "tuned", student=start, epochs=1).student
    told = run(store, tmp_path / "told", student=start, epochs=1, norm="batch").student

    def same(one: Student, other: Student) -> bool:
        return all(torch.equal(a, b) for a, b in zip(statistics(one).values(), statistics(other).values()))

    assert len(statistics(start)) > 2
    assert same(tuned, start)
    assert not same(first, fresh)
    assert not same(told, start)
    assert not torch.equal(tuned.projector[1].running_mean, start.projector[1].running_mean)  # type: ignore[union-attr,arg-type]
    norms = [metrics(tmp_path / name)[0]["train_norm"] for name in ("fresh", "tuned", "told")]
    assert norms == ["batch", "start", "batch"]


def test_held_everywhere_the_projector_keeps_its_statistics_too_where_it_ever_learned_them(
    store: TeacherStore, tmp_path: Path
) -> None:
    fresh = fresh_student()
    first = run(store, tmp_path / "fresh", student=fresh, epochs=1, norm="held").student
    start, _ = load_student(tmp_path / "fresh", dim=DIM, teacher_hash="c0", size=SIZE)
    held = run(store, tmp_path / "held", student=start, epochs=1, norm="held").student

    def kept(student: Student) -> list[torch.Tensor]:
        return [value for name, value in student.state_dict().items() if "running_" in name]

    assert not any(torch.equal(a, b) for a, b in zip(kept(first), kept(fresh)))
    assert all(torch.equal(a, b) for a, b in zip(kept(held), kept(start)))
    assert not torch.equal(held.projector[1].weight, start.projector[1].weight)  # type: ignore[union-attr,arg-type]


def test_held_statistics_leave_weight_and_bias_to_learn(store: TeacherStore, tmp_path: Path) -> None:
    start = fresh_student()
    tuned = run(store, tmp_path, student=start, epochs=1, norm="start").student
    before, after = start.backbone.state_dict(), tuned.backbone.state_dict()
    norms = [name.removesuffix("running_mean") for name in before if name.endswith("running_mean")]
    learned = [norm + part for norm in norms for part in ("weight", "bias")]
    assert learned
    assert not any(torch.equal(before[name], after[name]) for name in learned)


def test_a_loss_that_is_not_finite_names_part_and_step(store: TeacherStore, tmp_path: Path) -> None:
    broken = fresh_student()
    broken.projector[0].weight.data.fill_(float("nan"))  # type: ignore[union-attr,operator]
    with pytest.raises(NonFiniteLoss, match=r"epoch 1, step 1 of 4: .*node"):
        run(store, tmp_path, student=broken)


def test_too_few_images_and_a_missing_gpu_are_input_errors(
    store: TeacherStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="3 images"):
        lesson(store, images=3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="finds no GPU"):
        run(store, tmp_path, train_on="cuda")
