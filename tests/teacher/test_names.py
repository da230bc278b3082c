"""Teachers are found by four kinds of name, and a name that stands for nothing is answered with what is here."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_teacher import DIM, IMAGE_SIZE, MODEL, PREPROCESS

from edgedistill.errors import InputError
from edgedistill.teacher.files import MEAN_FEATURE_FILE
from edgedistill.teacher.names import find_teacher
from edgedistill.teacher.tower import Teacher

WEIGHTS = "open_clip_model.safetensors"


def test_finding_reads_files_and_builds_nothing(folder: Path):
    (folder / WEIGHTS).write_bytes(b"these are no weights")
    files = find_teacher(f"local-dir:{folder}")
    assert files.id == "local-dir:mine", "an id goes into manifests and must not hold a path of this machine"
    assert files.weight_hash == hashlib.sha256(b"these are no weights").hexdigest()
    assert (files.image_size, files.dim, files.mean_feature) == (IMAGE_SIZE, DIM, None)


def test_a_plain_folder_means_local_dir(folder: Path):
    assert find_teacher(str(folder)).id == "local-dir:mine"


def test_the_transform_id_follows_preprocessing_and_activation(folder: Path):
    config = folder / "open_clip_config.json"
    before = find_teacher(str(folder)).transform_id
    config.write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": {**PREPROCESS, "resize_mode": "squash"}}))
    squashed = find_teacher(str(folder)).transform_id
    config.write_text(json.dumps({"model_cfg": {**MODEL, "quick_gelu": True}, "preprocess_cfg": PREPROCESS}))
    assert len({before, squashed, find_teacher(str(folder)).transform_id}) == 3


def test_openclips_table_settles_activation_preprocessing_and_licence(hub_cache):
    weights = hub_cache("timm/vit_base_patch32_clip_224.openai", {WEIGHTS: b"weights"}) / WEIGHTS
    files = find_teacher("ViT-B/32/openai")
    assert files.id == "ViT-B-32/openai"
    assert files.weights == weights
    assert files.architecture["quick_gelu"] is True, "OpenAI's weights are wrong with any other activation"
    assert files.preprocess["mean"] == pytest.approx([0.48145466, 0.4578275, 0.40821073])
    assert files.licence == "MIT"
    assert (files.image_size, files.dim) == (224, 512)


def test_an_unsure_licence_says_where_to_look(hub_cache):
    hub_cache("UCSC-VLAA/ViT-L-14-CLIPA-datacomp1B", {WEIGHTS: b"weights"})
    licence = find_teacher("ViT-L-14-CLIPA/datacomp1b").licence
    assert licence.startswith("unknown")
    assert "huggingface.co/UCSC-VLAA/ViT-L-14-CLIPA-datacomp1B" in licence


def test_a_hub_model_in_the_cache_loads_without_a_request(hub_cache, tiny_teacher_folder: Path):
    config = (tiny_teacher_folder / "open_clip_config.json").read_bytes()
    hub_cache("someone/tiny", {"open_clip_config.json": config, WEIGHTS: (tiny_teacher_folder / WEIGHTS).read_bytes()})
    teacher = Teacher(find_teacher("hf-hub:someone/tiny"), dtype="float32")
    assert teacher.id == "hf-hub:someone/tiny"
    assert teacher.encode_text(["a red disc"]).shape == (1, DIM)


def test_a_missing_weight_names_what_was_looked_for_and_what_is_here(hub_cache, folder: Path, monkeypatch):
    hub_cache("laion/CLIP-ViT-B-32-DataComp.XL-s13B-b90K", {WEIGHTS: b"weights"})
    hub_cache("someone/own-model", {"open_clip_config.json": b"{}", WEIGHTS: b"weights"})
    hub_cache("someone/no-clip-at-all", {"config.json": b"{}"})
    monkeypatch.chdir(folder.parent)
    with pytest.raises(InputError) as raised:
        find_teacher("ViT-B-16/datacomp_xl_s13b_b90k")
    assert WEIGHTS in raised.value.wrong
    assert "laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K" in raised.value.wrong
    assert "HF_HUB_OFFLINE" in raised.value.wrong
    for alternative in ("ViT-B-32/datacomp_xl_s13b_b90k", "hf-hub:someone/own-model", "local-dir:mine"):
        assert f"--teacher {alternative}" in raised.value.todo
    assert "no-clip-at-all" not in raised.value.todo
    assert "https://huggingface.co/laion/CLIP-ViT-B-16-DataComp.XL-s13B-b90K" in raised.value.todo
    assert "--teacher FILE --teacher-arch ViT-B-16 --teacher-preprocess JSON" in raised.value.todo
    stated = json.loads(raised.value.todo.partition("a file with ")[2].rstrip("."))
    assert stated["interpolation"] == "bicubic"
    assert len(stated["mean"]) == 3


def test_the_file_route_names_the_quick_architecture_where_the_weights_need_it(hub_cache):
    with pytest.raises(InputError, match="--teacher-arch ViT-B-32-quickgelu"):
        find_teacher("ViT-B-32/openai")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("ViT-B-16/datacomp", "datacomp_xl_s13b_b90k"),
        ("ViT-B16/openai", "ViT-B-16/openai"),
        ("hf-hub:nothing", "looked for open_clip_config.json"),
        ("local-dir:/nowhere/at/all", "neither is the folder"),
        ("missing.safetensors", "missing.safetensors is not there"),
    ],
)
def test_a_wrong_name_is_answered_with_a_hint(hub_cache, name: str, hint: str):
    with pytest.raises(InputError) as raised:
        find_teacher(name)
    assert hint in str(raised.value)


def test_a_checkpoint_needs_its_architecture_and_its_preprocessing(folder: Path, tiny_architecture: str):
    with pytest.raises(InputError, match="--teacher-arch and --teacher-preprocess"):
        find_teacher(str(folder / WEIGHTS))
    with pytest.raises(InputError, match="checkpoint file, and --teacher-preprocess did not"):
        find_teacher(str(folder / WEIGHTS), arch=tiny_architecture)
    with pytest.raises(InputError, match="Did you mean ViT-B-16"):
        find_teacher(str(folder / WEIGHTS), arch="ViTB16", preprocess=folder / "open_clip_config.json")


def test_an_architecture_beside_anything_but_a_file_is_refused(folder: Path):
    with pytest.raises(InputError, match="belongs to a checkpoint file"):
        find_teacher(f"local-dir:{folder}", arch="ViT-B-32")


def test_a_folder_without_weights_is_an_error(folder: Path):
    (folder / WEIGHTS).rename(folder / MEAN_FEATURE_FILE)  # the other safetensors file a folder may hold
    with pytest.raises(InputError, match=f"looked for {WEIGHTS}"):
        find_teacher(str(folder))


@pytest.mark.parametrize("config", [b"", b"[]", b'{"model_cfg": {}}', b"\xff\xfe", b'{"model_cfg": 3}'])
def test_a_broken_configuration_is_an_input_error(folder: Path, config: bytes):
    (folder / "open_clip_config.json").write_bytes(config)
    with pytest.raises(InputError, match="open_clip_config"):
        find_teacher(str(folder))


def test_the_mean_feature_and_the_licence_come_from_the_folder(folder: Path):
    from safetensors.numpy import save_file

    feature = np.linspace(-1, 1, DIM, dtype=np.float32)
    save_file({"mean_feature": feature}, folder / MEAN_FEATURE_FILE)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A teacher\n")
    files = find_teacher(str(folder))
    np.testing.assert_array_equal(files.mean_feature, feature)
    assert files.licence == "apache-2.0"


def test_a_mean_feature_of_another_size_is_an_error(folder: Path):
    from safetensors.numpy import save_file

    save_file({"mean_feature": np.zeros(DIM + 1, np.float32)}, folder / MEAN_FEATURE_FILE)
    with pytest.raises(InputError, match=f"{DIM} finite numbers"):
        find_teacher(str(folder))
