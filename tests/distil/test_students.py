from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_hub import cache_hub_weights

from edgedistill.distil.student import Student
from edgedistill.distil.student_files import load_student, save_student
from edgedistill.distil.student_start import Plan, create_student, plan, plan_again
from edgedistill.errors import InputError

TINY = {"name": "resnet10t", "kwargs": {"channels": (8, 8, 16, 16), "stem_width": 8}}
DIM, SIZE = 12, 32


def tiny(seed: int = 0, dim: int = DIM) -> Student:
    torch.manual_seed(seed)
    return Student(TINY["name"], dim, size=SIZE, kwargs=TINY["kwargs"]).eval()  # type: ignore[arg-type]


def pixels(n: int = 4) -> torch.Tensor:
    return torch.randint(0, 256, (n, SIZE, SIZE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def saved(folder: Path, student: Student | None = None, half: bool = False) -> Path:
    folder.mkdir(exist_ok=True)
    save_student(folder, student or tiny(), teacher_id="T", teacher_hash="abc", size=SIZE, half=half)
    return folder


def test_takes_raw_pixels_and_gives_features_and_projection() -> None:
    f, h = tiny()(pixels())
    assert f.shape == (4, 16)
    assert h.shape == (4, DIM)


def test_normalises_as_timm_says_in_channels_last_memory() -> None:
    student = tiny()
    image = pixels()
    normalised = student.normalise(image)
    config = student.backbone.pretrained_cfg
    expected = (image[2, 5, 7].double() / 255 - torch.tensor(config["mean"])) / torch.tensor(config["std"])
    assert torch.allclose(normalised[2, :, 5, 7].double(), expected, atol=1e-6)
    assert normalised.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "mobilenetv4_conv_small_035"])
def test_width_is_what_the_network_really_gives(name: str) -> None:
    student = Student(name, DIM, size=64).eval()
    assert student(torch.zeros(1, 64, 64, 3, dtype=torch.uint8))[0].shape[1] == student.width


def test_saved_and_loaded_it_is_the_same_student(tmp_path: Path) -> None:
    student = tiny()
    loaded, kept = load_student(saved(tmp_path / "s", student), dim=DIM, teacher_hash="abc", size=SIZE)
    assert kept
    assert torch.equal(loaded.eval()(pixels())[1], student(pixels())[1])
    again = saved(tmp_path / "again", loaded)
    for file in ("student.safetensors", "student.json"):
        assert (again / file).read_bytes() == (tmp_path / "s" / file).read_bytes()


def test_a_half_precision_file_is_half_the_size_and_loads_as_float32(tmp_path: Path) -> None:
    whole, half = saved(tmp_path / "whole"), saved(tmp_path / "half", half=True)
    assert (half / "student.safetensors").stat().st_size < 0.65 * (whole / "student.safetensors").stat().st_size
    loaded, _ = load_student(half, dim=DIM, teacher_hash="abc", size=SIZE)
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    assert torch.allclose(loaded.eval()(pixels())[1], tiny()(pixels())[1], atol=0.02)


def test_half_precision_that_would_overflow_is_refused(tmp_path: Path) -> None:
    student = tiny()
    student.projector[1].running_var.fill_(1e6)  # type: ignore[union-attr]
    with pytest.raises(ValueError, match=r"projector\.1\.running_var"):
        saved(tmp_path, student, half=True)


@pytest.mark.parametrize(("dim", "teacher_hash"), [(DIM, "another"), (DIM + 1, "abc")])
def test_another_teachers_projector_is_dropped_with_a_warning(
    tmp_path: Path, dim: int, teacher_hash: str, caplog: pytest.LogCaptureFixture
) -> None:
    student = tiny()
    loaded, kept = load_student(saved(tmp_path, student), dim=dim, teacher_hash=teacher_hash, size=SIZE)
    assert not kept
    assert "another teacher (T)" in caplog.text
    assert torch.equal(loaded.eval()(pixels())[0], student(pixels())[0])  # the backbone stays
    assert loaded(pixels())[1].shape == (4, dim)
    assert not torch.equal(loaded.projector[0].weight, student.projector[0].weight)


def test_a_start_without_projector_gets_a_fresh_one_silently(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = saved(tmp_path)
    card = json.loads((folder / "student.json").read_text())
    card["projector"] = None
    (folder / "student.json").write_text(json.dumps(card))
    state = load_file(folder / "student.safetensors")
    save_file({k: v for k, v in state.items() if k.startswith("backbone.")}, folder / "student.safetensors")
    _, kept = load_student(folder, dim=DIM, teacher_hash="abc", size=SIZE)
    assert not kept
    assert not caplog.records


def test_plan_prefers_the_folder_and_refuses_another_name(tmp_path: Path) -> None:
    folder = saved(tmp_path)
    found = plan(None, str(folder), "resnet18", SIZE)
    assert (found.name, found.source) == ("resnet10t", "folder")
    assert plan("resnet10t", str(folder), "resnet18", SIZE).key == found.key
    with pytest.raises(InputError, match="'resnet18'"):
        plan("resnet18", str(folder), "resnet10t", SIZE)


def test_plan_key_follows_the_weights_not_the_path(tmp_path: Path) -> None:
    first, same, other = saved(tmp_path / "a"), saved(tmp_path / "b"), saved(tmp_path / "c", tiny(seed=1))
    keys = [plan(None, str(folder), "resnet18", SIZE).key for folder in (first, same, other)]
    assert keys[0] == keys[1] != keys[2]
    assert str(tmp_path) not in str(keys)


def test_from_scratch_as_asked() -> None:
    found = plan(None, "none", "mobilenetv3_small_050", 64)
    assert (found.source, found.final) == ("scratch", True)
    assert "as asked" in found.reason


def test_without_the_hub_auto_is_scratch_at_once_and_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    began = time.monotonic()
    found = plan(None, "auto", "resnet18", SIZE)
    assert time.monotonic() - began < 5
    assert found.source == "scratch"
    assert not found.final, "nobody could be asked"
    assert "it starts from scratch, and the next run asks again" in caplog.text
    assert "HF_HUB_OFFLINE" in caplog.text
    assert found.reason == "resnet18 from scratch: no pretrained weights could be had"  # the manifest's words


def test_the_reason_names_the_start_folder_without_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = saved(tmp_path / "start")
    assert plan(None, str(folder), "resnet18", SIZE).reason == "weights of resnet10t from start"
    monkeypatch.chdir(folder)
    assert plan(None, ".", "resnet18", SIZE).reason == "weights of resnet10t from start"


def test_cached_hub_weights_are_used_without_the_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    weights, published = cache_hub_weights(tmp_path, "mobilenetv3_small_050")
    found = plan("mobilenetv3_small_050", "auto", "resnet18", 64)
    assert (found.source, found.weights) == ("hub", weights)
    student, kept = create_student(found, DIM, "abc", size=64)
    assert not kept
    assert torch.equal(student.backbone.conv_stem.weight, published.conv_stem.weight)  # type: ignore[union-attr]


def test_what_timm_publishes_no_weights_for_is_scratch_for_good(caplog: pytest.LogCaptureFixture) -> None:
    found = plan("mobilenetv4_conv_small_035", "auto", "resnet18", SIZE)
    assert (found.source, found.final) == ("scratch", True)
    assert "timm publishes none for mobilenetv4_conv_small_035" in caplog.text
    assert "asks again" not in caplog.text


def test_a_plan_made_again_is_the_same_or_an_error(offline_cache: Path) -> None:
    name = "mobilenetv3_small_050"
    weights, _ = cache_hub_weights(offline_cache, name)
    found = plan(name, "auto", "resnet18", 64)
    assert plan_again(name, "hub", found.sha256) == found
    with pytest.raises(InputError, match="others than"):
        plan_again(name, "hub", "another hash")
    weights.unlink()
    with pytest.raises(InputError, match="cannot be had: not in the local cache"):
        plan_again(name, "hub", found.sha256)
    assert plan_again(name, "scratch", None).source == "scratch"


@pytest.fixture
def offline_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, empty; no request leaves."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


NET = "mobilenetv3_small_050"


def refused(says: str) -> str:
    """The remedy of the error in two lines that planning ends in."""
    with pytest.raises(InputError, match=says) as error:
        plan(NET, "auto", "resnet18", 64)
    assert len(str(error.value).splitlines()) == 2
    assert "weights_only" not in str(error.value), "torch advises to read it without the guard"
    return error.value.todo


@pytest.mark.parametrize("left", [0, 4, 1000, -1])
def test_truncated_hub_weights_are_named_before_anything_is_done(offline_cache: Path, left: int) -> None:
    weights, _ = cache_hub_weights(offline_cache, NET)
    whole = weights.read_bytes()
    weights.write_bytes(whole[:left])
    todo = refused(rf"{weights} is damaged")
    assert f"Delete {offline_cache}/models--timm--mobilenetv3_small_050.lamb_in1k so that it is fetched again" in todo
    weights.write_bytes(whole)
    assert plan(NET, "auto", "resnet18", 64).source == "hub"


def test_hub_weights_of_another_network_are_refused(offline_cache: Path) -> None:
    weights, published = cache_hub_weights(offline_cache, NET)
    state = published.state_dict()
    save_file({name: value for name, value in state.items() if "blocks.3" not in name}, weights)
    refused(f"{weights} is not the network {NET}")  # without a classifier timm would let this pass
    state["conv_stem.weight"] = state["conv_stem.weight"][..., :1].contiguous()
    save_file(state, weights)
    refused(f"{weights} is not the network {NET}")


def test_hub_weights_that_are_not_finite_are_refused(offline_cache: Path) -> None:
    weights, published = cache_hub_weights(offline_cache, NET)
    state = published.state_dict()
    state["conv_stem.weight"][0, 0, 0, 0] = float("inf")
    save_file(state, weights)
    refused(f"{weights} holds something else than finite numbers: conv_stem.weight")


class Code:
    """Touches `path` when unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_a_pickle_of_weights_is_read_and_one_that_runs_code_is_refused(offline_cache: Path, tmp_path: Path) -> None:
    safetensors, published = cache_hub_weights(offline_cache, NET)
    weights = safetensors.rename(safetensors.with_name("pytorch_model.bin"))
    torch.save(published.state_dict(), weights)
    student, _ = create_student(plan(NET, "auto", "resnet18", 64), DIM, "abc", size=64)
    assert torch.equal(student.backbone.conv_stem.weight, published.conv_stem.weight)  # type: ignore[union-attr]
    whole = weights.read_bytes()
    for damaged in (b"", b"no pickle", whole[:1000], whole[:-1000]):
        weights.write_bytes(damaged)
        refused(f"{weights} is damaged, or holds more than weights")
    torch.save({**published.state_dict(), "more": Code(tmp_path / "ran")}, weights)
    refused(f"{weights} is damaged, or holds more than weights and could run code when read")
    assert not (tmp_path / "ran").exists()


def test_a_student_from_the_hub_carries_its_weights_once(offline_cache: Path) -> None:
    cache_hub_weights(offline_cache, NET)
    student, _ = create_student(plan(NET, "auto", "resnet18", 64), DIM, "abc", size=64)
    assert "state_dict" not in student.backbone.pretrained_cfg  # type: ignore[operator]


@pytest.mark.parametrize(
    ("student", "weights", "size"), [("resnet10", "auto", 32), ("vit_tiny_patch16_224", "none", 40)]
)
def test_a_network_that_cannot_be_built_is_told_while_planning(
    offline_cache: Path, student: str, weights: str, size: int, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InputError, match=student):
        plan(student, weights, "resnet18", size)
    assert not caplog.records


def test_a_damaged_folder_is_told_while_planning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    weights = saved(tmp_path / "s") / "student.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InputError, match=f"{weights} is damaged"):
        plan(None, str(tmp_path / "s"), "resnet18", SIZE)
    assert not caplog.records


def test_creation_depends_on_the_seed_alone_and_leaves_torchs_random_state(tmp_path: Path) -> None:
    start = Plan(name="mobilenetv3_small_050", source="scratch", reason="")
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first, _ = create_student(start, DIM, "abc", size=64, seed=5)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    second, _ = create_student(start, DIM, "abc", size=64, seed=5)
    other, _ = create_student(start, DIM, "abc", size=64, seed=6)
    weights = [s.projector[0].weight for s in (first, second, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_unknown_names_are_answered_with_near_ones() -> None:
    with pytest.raises(InputError, match="mobilenetv3_smal_100") as error:
        Student("mobilenetv3_smal_100", DIM)
    assert "mobilenetv3_small_100" in error.value.todo


def test_a_size_the_network_does_not_take_is_named() -> None:
    with pytest.raises(InputError, match="40 px") as error:
        Student("vit_tiny_patch16_224", DIM, size=40)
    assert "224" in error.value.todo


def test_damaged_and_missing_weights_are_input_errors(tmp_path: Path) -> None:
    folder = saved(tmp_path / "s")
    weights = folder / "student.safetensors"
    data = weights.read_bytes()
    weights.write_bytes(data[:1000])
    with pytest.raises(InputError, match="damaged"):
        load_student(folder, dim=DIM, teacher_hash="abc", size=SIZE)
    save_file({"backbone.nothing": torch.zeros(1)}, weights)
    with pytest.raises(InputError, match="not the network"):
        load_student(folder, dim=DIM, teacher_hash="abc", size=SIZE)
    weights.unlink()
    with pytest.raises(InputError, match=r"no student\.safetensors"):
        plan(None, str(folder), "resnet18", SIZE)
    with pytest.raises(InputError, match=r"no student\.json"):
        plan(None, str(tmp_path), "resnet18", SIZE)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    student = tiny()
    student.projector[0].weight.data[0, 0] = float("nan")  # type: ignore[union-attr,operator,index]
    caplog.set_level(logging.ERROR)
    with pytest.raises(InputError, match="not finite"):
        load_student(saved(tmp_path, student), dim=DIM, teacher_hash="abc", size=SIZE)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.complex64])
def test_weights_of_a_kind_that_is_not_trained_are_refused_where_they_hold_no_number(
    tmp_path: Path, dtype: torch.dtype
) -> None:
    weights = saved(tmp_path / "s") / "student.safetensors"
    state = load_file(weights)
    state["backbone.conv1.0.weight"] = torch.full_like(state["backbone.conv1.0.weight"], torch.nan).to(dtype)
    save_file(state, weights)
    with pytest.raises(InputError, match=r"not finite: backbone\.conv1\.0\.weight"):
        load_student(tmp_path / "s", dim=DIM, teacher_hash="abc", size=SIZE)


def test_a_network_that_its_arguments_leave_without_layers_is_an_input_error(tmp_path: Path) -> None:
    path = saved(tmp_path / "s") / "student.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"kwargs": {"channels": [8]}}))
    with pytest.raises(InputError, match=f"student 'resnet10t' does not take {SIZE} px images"):
        load_student(tmp_path / "s", dim=DIM, teacher_hash="abc", size=SIZE)
