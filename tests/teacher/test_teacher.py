"""Teachers are found by four kinds of name, loaded with their weights or not at all, and see what open_clip sees."""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_images import CLASSES, make_photo
from tiny_teacher import DIM, IMAGE_SIZE, MODEL, PREPROCESS, SCALE

from edgedistill.errors import EdgeDistillError, InputError
from edgedistill.teacher.teacher import MEAN_FEATURE_FILE, Teacher, choose_dtype, find_teacher

WEIGHTS = "open_clip_model.safetensors"


@pytest.fixture
def folder(tiny_teacher_folder: Path, tmp_path: Path) -> Path:
    """A copy of the tiny teacher that a test may spoil."""
    return Path(shutil.copytree(tiny_teacher_folder, tmp_path / "mine"))


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An empty hub cache; put(repo, files) fills it. No request may leave."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))

    def refuse(*arguments, **options):
        raise AssertionError("a request was made")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)

    def put(repo: str, files: dict[str, bytes]) -> Path:
        place = cache / f"models--{repo.replace('/', '--')}"
        snapshot = place / "snapshots" / ("a" * 40)
        snapshot.mkdir(parents=True)
        (place / "refs").mkdir()
        (place / "refs" / "main").write_text("a" * 40)
        for name, data in files.items():
            (snapshot / name).write_bytes(data)
        return snapshot

    return put


@pytest.fixture
def tiny_architecture(tmp_path: Path) -> str:
    """The tiny model as an architecture that open_clip knows by name."""
    from edgedistill.teacher.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    import open_clip

    (tmp_path / "tiny-test-arch.json").write_text(json.dumps(MODEL))
    open_clip.add_model_config(tmp_path / "tiny-test-arch.json")
    return "tiny-test-arch"


# --- finding


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


@pytest.fixture
def worded_teacher(hub_cache, tiny_teacher_folder: Path):
    """The tiny teacher on the hub, with a tokeniser that lies in a repository of its own (not in the cache)."""
    architecture = {**MODEL, "text_cfg": {**MODEL["text_cfg"], "hf_tokenizer_name": "someone/words"}}
    config = json.dumps({"model_cfg": architecture, "preprocess_cfg": PREPROCESS}).encode()
    hub_cache("someone/tiny", {"open_clip_config.json": config, WEIGHTS: (tiny_teacher_folder / WEIGHTS).read_bytes()})
    return find_teacher("hf-hub:someone/tiny")


def test_a_tokeniser_of_its_own_is_read_from_the_cache_without_a_request(worded_teacher, hub_cache):
    pytest.importorskip("transformers")
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "a": 2, "red": 3, "disc": 4}
    words = {"version": "1.0", "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}}
    words |= {"pre_tokenizer": {"type": "Whitespace"}, "added_tokens": [], "truncation": None, "padding": None}
    words |= {"normalizer": None, "post_processor": None, "decoder": None}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "unk_token": "[UNK]"}
    files = {"tokenizer.json": words, "tokenizer_config.json": settings}
    hub_cache("someone/words", {name: json.dumps(value).encode() for name, value in files.items()})
    teacher = Teacher(worded_teacher, dtype="float32")
    assert teacher._tokenizer(["a red cone"])[0, :4].tolist() == [2, 3, 1, 0]
    assert teacher.encode_text(["a red disc"]).shape == (1, DIM)


def test_a_tokeniser_that_cannot_be_had_is_said_at_once(worded_teacher):
    with pytest.raises(InputError) as raised:  # no request either: the fixture would refuse it
        Teacher(worded_teacher)
    assert "no tokeniser for teacher hf-hub:someone/tiny" in raised.value.wrong
    assert "of someone/words: not in the local cache, and HF_HUB_OFFLINE is set" in raised.value.wrong
    assert "--teacher local-dir:FOLDER" in raised.value.todo


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
    stated = json.loads(raised.value.todo.partition("a file with ")[2])
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


# --- checkpoint files


def test_a_checkpoint_needs_its_architecture_and_its_preprocessing(folder: Path, tiny_architecture: str):
    with pytest.raises(InputError, match="--teacher-arch and --teacher-preprocess"):
        find_teacher(str(folder / WEIGHTS))
    with pytest.raises(InputError, match="checkpoint file, and --teacher-preprocess did not"):
        find_teacher(str(folder / WEIGHTS), arch=tiny_architecture)
    with pytest.raises(InputError, match="did you mean ViT-B-16"):
        find_teacher(str(folder / WEIGHTS), arch="ViTB16", preprocess=folder / "open_clip_config.json")


def test_a_checkpoint_with_both_equals_the_folder_it_came_from(folder: Path, tiny_architecture: str, tiny_teacher):
    preprocess = folder / "preprocess.json"
    preprocess.write_text(json.dumps(PREPROCESS))
    files = find_teacher(str(folder / WEIGHTS), arch=tiny_architecture, preprocess=preprocess)
    teacher = Teacher(files, dtype="float32")
    pixels = tiny_teacher.centre(make_photo("red disc", 1))[None]
    np.testing.assert_array_equal(teacher.encode_images(pixels), tiny_teacher.encode_images(pixels))


def test_a_preprocessing_file_leaves_nothing_to_guess(folder: Path, tiny_architecture: str):
    preprocess = folder / "preprocess.json"
    preprocess.write_text(json.dumps({"mean": [0.5] * 3, "std": [0.5] * 3}))
    with pytest.raises(InputError, match="does not say interpolation, resize_mode"):
        find_teacher(str(folder / WEIGHTS), arch=tiny_architecture, preprocess=preprocess)


def test_an_architecture_beside_anything_but_a_file_is_refused(folder: Path):
    with pytest.raises(InputError, match="belongs to a checkpoint file"):
        find_teacher(f"local-dir:{folder}", arch="ViT-B-32")


# --- never a random teacher


def test_a_folder_without_weights_is_an_error(folder: Path):
    (folder / WEIGHTS).rename(folder / MEAN_FEATURE_FILE)  # the other safetensors file a folder may hold
    with pytest.raises(InputError, match=f"looked for {WEIGHTS}"):
        find_teacher(str(folder))


def test_a_truncated_weights_file_is_an_error(folder: Path):
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match="do not load"):
        Teacher(find_teacher(str(folder)))


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


def test_preprocessing_is_never_guessed(folder: Path):
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": {}}))
    with pytest.raises(InputError, match=r"preprocess_cfg\.mean"):
        find_teacher(str(folder))
    (folder / "preprocess.json").write_text(json.dumps(PREPROCESS))
    assert find_teacher(str(folder), preprocess=folder / "preprocess.json").preprocess["mean"] == [0.5] * 3


@pytest.mark.parametrize("config", [b"", b"[]", b'{"model_cfg": {}}', b"\xff\xfe", b'{"model_cfg": 3}'])
def test_a_broken_configuration_is_an_input_error(folder: Path, config: bytes):
    (folder / "open_clip_config.json").write_bytes(config)
    with pytest.raises(InputError, match="open_clip_config"):
        find_teacher(str(folder))


# --- beside the weights


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


# --- features


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


# --- dtype


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


def test_bfloat16_is_chosen_where_it_is_faster_and_changes_nothing():
    import torch

    class Slow(torch.nn.Module):
        """Slow in float32; the feature hangs on `offset`, and on nothing else."""

        def __init__(self, offset: float):
            super().__init__()
            self.base = torch.nn.Parameter(torch.tensor([0.0, 1.0, -2.0]) + offset)
            self.offset = offset

        def forward(self, x):
            if x.dtype == torch.float32:
                time.sleep(0.05)
            return (self.base - self.offset) + 0 * x.sum()

    images, device = torch.zeros(2, 3, 4, 4), torch.device("cpu")
    assert choose_dtype(Slow(offset=0.0), images, device)[0] is torch.bfloat16
    chosen, reason = choose_dtype(Slow(offset=1000.0), images, device)  # bfloat16 keeps three digits
    assert chosen is torch.float32
    assert "lowest cosine" in reason
