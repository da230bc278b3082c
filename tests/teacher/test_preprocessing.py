"""Preprocessing is read and never guessed; the teacher sees what open_clip sees."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_images import make_photo
from tiny_teacher import IMAGE_SIZE, MODEL, PREPROCESS

from edgedistill.errors import InputError
from edgedistill.teacher.names import find_teacher
from edgedistill.teacher.tower import Teacher

WEIGHTS = "open_clip_model.safetensors"


def test_a_preprocessing_file_leaves_nothing_to_guess(folder: Path, tiny_architecture: str):
    preprocess = folder / "preprocess.json"
    preprocess.write_text(json.dumps({"mean": [0.5] * 3, "std": [0.5] * 3}))
    with pytest.raises(InputError, match="does not say interpolation, resize_mode"):
        find_teacher(str(folder / WEIGHTS), arch=tiny_architecture, preprocess=preprocess)


def test_preprocessing_is_never_guessed(folder: Path):
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": {}}))
    with pytest.raises(InputError, match=r"preprocess_cfg\.mean"):
        find_teacher(str(folder))
    given = PREPROCESS | {"mean": [10**400, 0.5, 0.5]}  # no float is so large
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": given}))
    with pytest.raises(InputError, match="not three numbers"):
        find_teacher(str(folder))
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": {}}))
    (folder / "preprocess.json").write_text(json.dumps(PREPROCESS))
    assert find_teacher(str(folder), preprocess=folder / "preprocess.json").preprocess["mean"] == [0.5] * 3


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(101, 67), (40, 90), (20, 24), (32, 32)])
def test_it_sees_exactly_what_openclip_would_show_it(folder: Path, resize_mode: str, interpolation: str, size):
    from open_clip.transform import PreprocessCfg, image_transform_v2

    preprocess = {
        "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.3, 0.1],
        "interpolation": interpolation,
        "resize_mode": resize_mode,
    }
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": preprocess}))
    teacher = Teacher(find_teacher(str(folder)), dtype="float32")
    photo = make_photo("yellow bars", 5, size=size)
    expected = image_transform_v2(PreprocessCfg(size=IMAGE_SIZE, **preprocess), is_train=False)(photo)
    seen = teacher.normalised(teacher.centre(photo)[None])[0]
    np.testing.assert_array_equal(seen.numpy(), expected.numpy())
