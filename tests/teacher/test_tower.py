"""A teacher is loaded with its weights or not at all; its features are unit vectors and repeatable."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_images import CLASSES, make_photo
from tiny_teacher import DIM, IMAGE_SIZE, MODEL, PREPROCESS, SCALE

from edgedistill.errors import EdgeDistillError, InputError
from edgedistill.teacher.names import find_teacher
from edgedistill.teacher.tower import Teacher

WEIGHTS = "open_clip_model.safetensors"


def test_a_checkpoint_with_both_equals_the_folder_it_came_from(folder: Path, tiny_architecture: str, tiny_teacher):
    preprocess = folder / "preprocess.json"
    preprocess.write_text(json.dumps(PREPROCESS))
    files = find_teacher(str(folder / WEIGHTS), arch=tiny_architecture, preprocess=preprocess)
    teacher = Teacher(files, dtype="float32")
    pixels = tiny_teacher.centre(make_photo("red disc", 1))[None]
    np.testing.assert_array_equal(teacher.encode_images(pixels), tiny_teacher.encode_images(pixels))


def test_a_truncated_weights_file_is_an_error(folder: Path):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="do not load"):
        Teacher(find_teacher(str(folder)))


def test_a_checkpoint_that_would_run_code_is_refused_without_torchs_advice(folder: Path, tmp_path: Path):
    (folder / WEIGHTS).unlink()
    (folder / "open_clip_pytorch_model.bin").write_bytes(pickle.dumps(Path(tmp_path / "ran").touch))
    with pytest.raises(InputError, match="could run code when read") as raised:
        Teacher(find_teacher(str(folder)))
    assert "Only weights are loaded" in raised.value.todo
    assert "save_file(" in raised.value.todo
    assert "weights_only" not in str(raised.value)


def test_weights_of_another_architecture_are_an_error(folder: Path):
    wider = {**MODEL, "embed_dim": DIM + 1}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": wider, "preprocess_cfg": PREPROCESS}))
    with pytest.raises(InputError, match="do not load"):
        Teacher(find_teacher(str(folder)))


def test_a_weight_that_is_not_finite_is_named(folder: Path):
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / WEIGHTS)
    weights["visual.ln_post.weight"][3] = np.nan
    save_file(weights, folder / WEIGHTS)
    with pytest.raises(InputError, match=r"visual\.ln_post\.weight"):
        Teacher(find_teacher(str(folder)))


def test_it_names_photos_it_has_not_seen_under_prompts_it_has_not_read(tiny_teacher):
    words = tiny_teacher.encode_text([f"a cropped photo of a {name}." for name in CLASSES])
    photos = np.stack([tiny_teacher.centre(make_photo(name, 77 + i)) for i in range(10) for name in CLASSES])
    chosen = (tiny_teacher.encode_images(photos) @ words.T).argmax(axis=1)
    assert np.mean(chosen == np.tile(np.arange(len(CLASSES)), 10)) > 0.9


def test_features_are_unit_float32_and_the_scale_is_the_checkpoints(tiny_teacher):
    image = tiny_teacher.encode_images(np.zeros((3, IMAGE_SIZE, IMAGE_SIZE, 3), np.uint8))
    text = tiny_teacher.encode_text(["a", "b"])
    assert image.dtype == text.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([image, text]), axis=1), 1, atol=1e-5)
    assert tiny_teacher.scale == pytest.approx(SCALE, rel=1e-2)


def test_torch_and_read_only_numpy_images_are_the_same_images(tiny_teacher):
    import torch

    photo = tiny_teacher.centre(make_photo("blue disc", 3))[None]
    frozen = photo.copy()
    frozen.flags.writeable = False
    expected = tiny_teacher.encode_images(photo)
    np.testing.assert_array_equal(tiny_teacher.encode_images(frozen), expected)
    np.testing.assert_array_equal(tiny_teacher.encode_images(torch.from_numpy(photo)), expected)


def test_images_of_another_shape_or_type_are_refused(tiny_teacher):
    with pytest.raises(ValueError, match="uint8"):
        tiny_teacher.encode_images(np.zeros((1, IMAGE_SIZE, IMAGE_SIZE, 3), np.float32))
    with pytest.raises(ValueError, match="shape"):
        tiny_teacher.encode_images(np.zeros((1, 3, IMAGE_SIZE, IMAGE_SIZE), np.uint8))


def test_the_text_tower_can_be_dropped(tiny_teacher_folder: Path):
    teacher = Teacher(find_teacher(str(tiny_teacher_folder)), dtype="float32")
    photo = teacher.centre(Image.new("RGB", (50, 40), "red"))[None]
    before = teacher.encode_images(photo)
    parameters = sum(p.numel() for p in teacher.model.parameters())
    teacher.free_text()
    assert sum(p.numel() for p in teacher.model.parameters()) < parameters / 10
    np.testing.assert_array_equal(teacher.encode_images(photo), before)
    with pytest.raises(EdgeDistillError, match="free_text"):
        teacher.encode_text(["a red disc"])


def test_bfloat16_can_be_asked_for_and_gives_the_same_features_nearly(tiny_teacher, tiny_teacher_folder: Path):
    half = Teacher(find_teacher(str(tiny_teacher_folder)), dtype="bfloat16")
    assert (half.dtype, half.dtype_reason) == ("bfloat16", "asked for")
    photos = np.stack([tiny_teacher.centre(make_photo(name, 3)) for name in CLASSES])
    exact, near = tiny_teacher.encode_images(photos), half.encode_images(photos)
    assert near.dtype == np.float32
    assert (exact * near).sum(axis=1).min() > 0.995
    assert not np.array_equal(exact, near)


def test_the_measured_choice_says_what_was_measured(tiny_teacher_folder: Path):
    teacher = Teacher(find_teacher(str(tiny_teacher_folder)), dtype="auto")
    assert teacher.dtype in ("float32", "bfloat16")
    assert "times as fast as float32 on cpu" in teacher.dtype_reason
