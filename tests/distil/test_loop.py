from __future__ import annotations

import hashlib
import io
import json
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from edgedistill.distil import loop as training
from edgedistill.distil.loop import (
    TrainConfig,
    TrainResult,
    batch_for,
    choose_dtype,
    epochs_for,
    evaluate,
    stalled,
    train,
)
from edgedistill.distil.methods import KD, PRG, Embedding, Method
from edgedistill.distil.methods.base import NonFiniteLoss
from edgedistill.distil.students import Student, load_student
from edgedistill.errors import InputError
from edgedistill.teacher.fill import TeacherPass, build_store
from edgedistill.teacher.store import TeacherStore

SIZE, DIM, VIEWS, IMAGES = 32, 12, 5, 48
COLOURS = np.array([[210, 60, 50], [60, 170, 70], [60, 80, 200]])


class ColourTeacher:
    """Sees a fixed projection of an image's 2x2 mean colours."""

    id, dim, image_size = "colours", DIM, 16

    def centre(self, image: Image.Image) -> np.ndarray:
        return np.asarray(image.resize((16, 16)))

    def encode_images(self, images: np.ndarray) -> np.ndarray:
        cells = images.reshape(-1, 2, 8, 2, 8, 3).mean(axis=(2, 4)).reshape(len(images), -1) / 255 - 0.5
        vectors = cells @ np.random.default_rng(0).normal(size=(12, DIM))
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Photos:
    """Noisy photos of one colour each, as PNG bytes sorted by their hash, as a pool has them."""

    def __init__(self, count: int) -> None:
        draw, found = np.random.default_rng(7), {}
        for index in range(count):
            pixels = COLOURS[index % 3] + draw.normal(0, 25, (40, 48, 3)) + draw.normal(0, 15, 3)
            data = io.BytesIO()
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(data, "PNG")
            found[hashlib.sha256(data.getvalue()).digest()] = data.getvalue()
        self._bytes = [found[key] for key in sorted(found)]
        self.hashes = np.frombuffer(b"".join(sorted(found)), np.uint8).reshape(-1, 32)

    def __len__(self) -> int:
        return len(self._bytes)

    def read(self, row: int) -> bytes:
        return self._bytes[row]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TeacherStore:
    folder = tmp_path_factory.mktemp("store")
    build_store(folder, TeacherPass(Photos(IMAGES), ColourTeacher(), seed=0, views=VIEWS, short_side=37))
    return TeacherStore.open(folder)


def classes() -> tuple[Any, Any]:
    """Class vectors where the teacher puts plain colours, and a bank with two prompts that straddle them."""
    plain = np.broadcast_to(COLOURS.astype(np.uint8)[:, None, None], (3, 16, 16, 3))
    vectors = ColourTeacher().encode_images(plain)
    lean = 0.1 * np.random.default_rng(1).normal(size=vectors.shape).astype(np.float32)
    prompts = np.stack([vectors + lean, vectors - lean], axis=1)
    prompts /= np.linalg.norm(prompts, axis=-1, keepdims=True)
    weights = np.array([0.5, 0.5])
    text = np.einsum("p,cpd->cd", weights, prompts).astype(np.float32)
    bank = SimpleNamespace(vectors=prompts, scale=20.0, teacher_id="colours", teacher_hash="c0")
    return bank, SimpleNamespace(
        text=text, baked=text, prompt_weights=weights, weighting="W3", normalised=False, scale=20.0
    )


def fresh_student(seed: int = 0) -> Student:
    torch.manual_seed(seed)
    return Student("resnet10t", DIM, size=SIZE, kwargs={"channels": (8, 8, 16, 16), "stem_width": 8})


def config(**changes: Any) -> TrainConfig:
    return TrainConfig(**{"size": SIZE, "epochs": 4, "batch": 12, "dtype": "float32", "threads": 1, **changes})


def run(
    store: TeacherStore, folder: Path, method: Method | None = None, student: Student | None = None, **changes: Any
) -> TrainResult:
    bank, vectors = classes()
    folder.mkdir(exist_ok=True)
    rows = np.arange(len(store))
    start = student or fresh_student()
    return train(start, store, rows, method or PRG(), vectors, bank, config(**changes), folder)


def metrics(folder: Path) -> list[dict[str, Any]]:
    """metrics.jsonl without its times."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in training.TIMES} for row in rows]


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
    run(store, whole)
    broken.mkdir()
    bank, vectors = classes()
    arguments = (fresh_student(), store, np.arange(len(store)), PRG(), vectors, bank, config(), broken)
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


@pytest.mark.parametrize("spoil", ["settings", "bytes"])
def test_a_checkpoint_of_another_run_or_a_damaged_one_is_not_used(
    store: TeacherStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, spoil: str
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_SECONDS", 0.0)
    bank, vectors = classes()
    rows = np.arange(len(store))
    before = config(lr=2e-3) if spoil == "settings" else config()
    with pytest.raises(KeyboardInterrupt):
        train(fresh_student(), store, rows, PRG(), vectors, bank, before, tmp_path, StopAfter(3 * IMAGES))
    checkpoint = tmp_path / "checkpoint.safetensors"
    if spoil == "bytes":
        checkpoint.write_bytes(checkpoint.read_bytes()[:5000])
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


def test_average_starts_as_a_copy_and_follows_ever_more_slowly(store: TeacherStore, tmp_path: Path) -> None:
    bank, vectors = classes()
    loop = training.Run(
        fresh_student(),
        store,
        np.arange(8),
        KD(),
        vectors,
        bank,
        config(epochs=1, batch=4),
        torch.device("cpu"),
        tmp_path,
    )
    weight, average = loop.live.projector[0].weight, loop.average.projector[0].weight  # type: ignore[union-attr]
    expected = average.detach().clone()
    for step in (0, 1, 50, 10**6):
        with torch.no_grad():
            weight.add_(1.0)  # type: ignore[operator]
        loop.update_average(step)
        decay = min(0.999, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weight.detach()  # type: ignore[operator]
        assert torch.allclose(average, expected, atol=1e-5)  # type: ignore[arg-type]


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


def test_biases_and_batchnorm_are_not_decayed_and_the_projector_has_its_own_rate() -> None:
    student = fresh_student()
    groups = training._groups(student, config(), lr=1e-3)
    decayed = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    assert {id(p) for p in student.parameters() if p.ndim > 1} == decayed
    assert sum(len(group["params"]) for group in groups) == len(list(student.parameters()))
    assert {g["peak"] for g in groups if any(p is student.projector[0].weight for p in g["params"])} == {3e-3}


@pytest.mark.parametrize(
    ("images", "batch", "epochs"), [(40, 10, 100), (1260, 128, 48), (50_000, 128, 20), (9, 2, 100)]
)
def test_defaults_follow_the_size_of_the_pool(images: int, batch: int, epochs: int) -> None:
    assert (batch_for(images), epochs_for(images)) == (batch, epochs)


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


def test_held_statistics_leave_weight_and_bias_to_learn(store: TeacherStore, tmp_path: Path) -> None:
    start = fresh_student()
    tuned = run(store, tmp_path, student=start, epochs=1, norm="start").student
    before, after = start.backbone.state_dict(), tuned.backbone.state_dict()
    norms = [name.removesuffix("running_mean") for name in before if name.endswith("running_mean")]
    learned = [norm + part for norm in norms for part in ("weight", "bias")]
    assert learned
    assert not any(torch.equal(before[name], after[name]) for name in learned)


@pytest.mark.parametrize(
    ("views", "policy", "etas"),
    [
        (8, "blend", [0.0, 0.25, 0.5, 0.5]),
        (3, "blend", [0, 0, 0, 0]),
        (8, "match", [0, 0, 0, 0]),
        (8, "mean", [1, 1, 1, 1]),
    ],
)
def test_the_mean_view_target_rises_over_the_first_fifth(views: int, policy: str, etas: list[float]) -> None:
    loop = SimpleNamespace(config=config(views=policy), store=SimpleNamespace(views=views), steps=100)
    loop._blends = lambda: training.Run._blends(loop)  # type: ignore[arg-type]
    assert [training.Run.eta(loop, step) for step in (0, 10, 20, 99)] == pytest.approx(etas)  # type: ignore[arg-type]


def test_a_loss_that_is_not_finite_names_part_and_step(store: TeacherStore, tmp_path: Path) -> None:
    broken = fresh_student()
    broken.projector[0].weight.data.fill_(float("nan"))  # type: ignore[union-attr,operator]
    with pytest.raises(NonFiniteLoss, match=r"epoch 1, step 1 of 4: .*node"):
        run(store, tmp_path, student=broken)


def test_too_few_images_and_a_missing_gpu_are_input_errors(
    store: TeacherStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bank, vectors = classes()
    with pytest.raises(InputError, match="3 images"):
        train(fresh_student(), store, np.arange(3), KD(), vectors, bank, config(), tmp_path)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="finds no GPU"):
        run(store, tmp_path, train_on="cuda")


def test_a_stall_is_warned_about_only_where_there_is_one() -> None:
    rising, flat, good = [0.2 + 0.02 * e for e in range(30)], [0.4] * 30, [0.95] * 30
    assert stalled(flat, 50) is not None
    assert "0.40" in (stalled(flat, 50) or "")
    assert stalled(rising, 50) is None
    assert stalled(good, 50) is None
    assert stalled(flat[:8], 50) is None


def test_dtype_choice_gives_a_reason_and_leaves_the_student_alone() -> None:
    student = fresh_student()
    before = {k: v.clone() for k, v in student.state_dict().items()}
    dtype, why = choose_dtype(student, SIZE, 8, torch.device("cpu"))
    assert dtype in ("float32", "bfloat16")
    assert "bfloat16" in why or "float32" in why
    assert all(torch.equal(before[k], v) for k, v in student.state_dict().items())
    assert all(p.grad is None for p in student.parameters())


@pytest.mark.parametrize("wrong", [{"batch": 1}, {"lr": 0.0}, {"views": "all"}, {"ema": 1.5}, {"epochs": 0}])
def test_settings_out_of_range_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        config(**wrong)
