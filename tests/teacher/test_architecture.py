"""A teacher's configuration, mean feature and weights come from strangers: what is wrong is said in two lines."""

from __future__ import annotations

import copy
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_teacher import DIM, MODEL, PREPROCESS

from edgedistill.errors import InputError
from edgedistill.teacher.architecture import check_architecture, fewest_parameters
from edgedistill.teacher.names import find_teacher
from edgedistill.teacher.tower import Teacher

CONFIG, WEIGHTS, MEAN = "open_clip_config.json", "open_clip_model.safetensors", "mean_feature.safetensors"


def changed(folder: Path, key: str, value: Any) -> Path:
    """The teacher's configuration with one value of its model_cfg changed."""
    model: Any = copy.deepcopy(MODEL)
    *above, last = key.split(".")
    table = model
    for name in above:
        table = table[name]
    table[last] = value
    (folder / CONFIG).write_text(json.dumps({"model_cfg": model, "preprocess_cfg": PREPROCESS}))
    return folder


def test_open_clips_own_architectures_pass() -> None:
    package = importlib.util.find_spec("open_clip")
    assert package is not None
    assert package.origin is not None
    files = list((Path(package.origin).parent / "model_configs").glob("*.json"))
    assert len(files) > 100
    for file in files:
        check_architecture(json.loads(file.read_text()), file.name)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("vision_cfg", None),
        ("text_cfg", None),
        ("text_cfg", []),
        ("embed_dim", ""),
        ("embed_dim", 0),
        ("embed_dim", True),
        ("embed_dim", 10**12),
        ("evil", 1),
        ("cast_dtype", "x"),
        ("quick_gelu", "x"),
        ("multimodal_cfg", 5),
        ("vision_cfg.evil", 1),
        ("vision_cfg.width", "48"),
        ("vision_cfg.width", -1),
        ("vision_cfg.patch_size", 0),
        ("vision_cfg.head_width", 0),
        ("vision_cfg.layers", None),
        ("vision_cfg.layers", [1, 2]),
        ("vision_cfg.layers", "a"),
        ("vision_cfg.image_size", [[]]),
        ("vision_cfg.image_size", 10**6),
        ("vision_cfg.pool_type", "zz"),
        ("vision_cfg.attentional_pool", []),
        ("vision_cfg.output_tokens", True),
        ("vision_cfg.norm_kwargs", {"device": "x"}),
        ("vision_cfg.timm_model_name", "local-dir:/etc"),
        ("vision_cfg.timm_model_name", "hf-hub:someone/net"),
        ("text_cfg.evil", 1),
        ("text_cfg.heads", 0),
        ("text_cfg.width", None),
        ("text_cfg.context_length", 0),
        ("text_cfg.hf_tokenizer_name", 5),
        ("text_cfg.hf_model_name", "/etc"),
        ("text_cfg.hf_model_name", "../words"),
        ("text_cfg.tokenizer_kwargs", []),
    ],
)
def test_a_hostile_architecture_is_refused_by_file_and_key(folder: Path, key: str, value: Any) -> None:
    with pytest.raises(InputError) as raised:
        find_teacher(str(changed(folder, key, value)))
    wrong = raised.value.wrong
    assert wrong.startswith((f"{folder / CONFIG}: model_cfg.{key} ", f"{folder / CONFIG}: model_cfg.{key}."))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("text_cfg.heads", 7),
        ("text_cfg.width", 16384),
        ("vision_cfg.layers", 256),
        ("vision_cfg.patch_size", 4096),
        ("vision_cfg.timm_model_name", "nope"),
        ("vision_cfg.head_width", 4096),
        ("multimodal_cfg", {}),
    ],
)
def test_a_network_that_cannot_be_built_is_an_error_of_its_files(folder: Path, key: str, value: Any) -> None:
    with pytest.raises(InputError, match="do not load") as raised:
        Teacher(find_teacher(str(changed(folder, key, value))), dtype="float32")
    assert str(folder / WEIGHTS) in raised.value.wrong
    assert CONFIG in raised.value.wrong


def test_a_text_tower_without_all_of_clips_words_is_refused_before_it_is_asked(folder: Path) -> None:
    with pytest.raises(InputError, match=r"the tokeniser of teacher .*: text_cfg\.vocab_size is 5"):
        Teacher(find_teacher(str(changed(folder, "text_cfg.vocab_size", 5))), dtype="float32")


def test_a_network_larger_than_its_weights_is_not_built(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import open_clip

    monkeypatch.setattr(open_clip, "create_model", None)
    with pytest.raises(InputError, match=r"has [0-9,]{13} parameters or more"):
        Teacher(find_teacher(str(changed(folder, "text_cfg.width", 16384))), dtype="float32")


def test_the_fewest_parameters_are_no_more_than_there_are(tiny_teacher: Teacher) -> None:
    there = sum(parameter.numel() for parameter in tiny_teacher.model.parameters())
    assert 0.9 * there < fewest_parameters(MODEL) <= there


@pytest.mark.parametrize("colour", [[], "x", 300, True])
def test_the_colour_of_the_border_is_a_grey(folder: Path, colour: Any) -> None:
    text = json.dumps({"model_cfg": MODEL, "preprocess_cfg": {**PREPROCESS, "fill_color": colour}})
    (folder / CONFIG).write_text(text)
    with pytest.raises(InputError, match="fill_color"):
        find_teacher(str(folder))


@pytest.mark.parametrize("key", ["embed_dim", "init_logit_scale", "fill_color"])
def test_a_number_that_no_float_holds_is_refused_with_the_file(folder: Path, key: str) -> None:
    cfg = {"model_cfg": {**MODEL, key: "BIG"}, "preprocess_cfg": PREPROCESS}
    if key == "fill_color":
        cfg = {"model_cfg": MODEL, "preprocess_cfg": {**PREPROCESS, key: "BIG"}}
    (folder / CONFIG).write_text(json.dumps(cfg).replace('"BIG"', "1e999"))
    with pytest.raises(InputError, match=rf"{CONFIG} cannot be read: .* 1e999 is too large"):
        find_teacher(str(folder))


@pytest.mark.parametrize("held", ["list", "tensor", "state_dict", "empty", "numbers", "numbered"])
def test_a_checkpoint_that_holds_something_else_does_not_load(folder: Path, held: str) -> None:
    import torch

    values: dict[str, Any] = {
        "list": [1, 2],
        "tensor": torch.zeros(3),
        "state_dict": {"state_dict": 5},
        "empty": {},
        "numbers": {"a": 1},
        "numbered": {1: torch.zeros(3)},
    }
    (folder / WEIGHTS).unlink()
    torch.save(values[held], folder / "open_clip_pytorch_model.bin")
    with pytest.raises(InputError, match=r"do not load: .*open_clip_pytorch_model\.bin"):
        Teacher(find_teacher(str(folder)), dtype="float32")


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "BOOL", "I64", "ZZ"])
def test_a_mean_feature_of_other_numbers_is_refused(folder: Path, dtype: str) -> None:
    width = {"BF16": 2, "I64": 8}.get(dtype, 1)
    about = {"mean_feature": {"dtype": dtype, "shape": [DIM], "data_offsets": [0, DIM * width]}}
    header = json.dumps(about).encode()
    (folder / MEAN).write_bytes(len(header).to_bytes(8, "little") + header + bytes(DIM * width))
    with pytest.raises(InputError, match=rf"mean_feature\.safetensors: mean_feature must be .*{dtype}"):
        find_teacher(str(folder))


def test_a_mean_feature_is_finite_in_float32_and_a_file(folder: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"mean_feature": np.full(DIM, 1e300)}, folder / MEAN)
    with pytest.raises(InputError, match="not finite"):
        find_teacher(str(folder))
    (folder / MEAN).unlink()
    (folder / MEAN).mkdir()
    with pytest.raises(InputError, match="is not a file"):
        find_teacher(str(folder))


def test_a_tower_that_does_not_run_says_which(tiny_teacher_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    teacher = Teacher(find_teacher(str(tiny_teacher_folder)), dtype="float32")
    monkeypatch.setattr(teacher, "dim", DIM + 1)
    with pytest.raises(InputError, match=f"the text tower of teacher .* features of shape \\[1, {DIM}\\]"):
        teacher.encode_text(["a"])
    with pytest.raises(InputError, match="the image tower of teacher"):
        teacher.encode_images(np.zeros((1, teacher.image_size, teacher.image_size, 3), np.uint8))
