"""The example's teacher and start: what they were made from, what they weigh, and what they can do."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
TEACHER, START, CHECK = (ROOT / "examples" / name for name in ("teacher", "start", "parts/check"))
EVALUATION = ("trashnet", "pacs_photo", "pacs_art_painting", "pacs_cartoon", "pacs_sketch", "caltech101")

sys.path.insert(0, str(ROOT / "tools"))
import demo_card  # noqa: E402

needs_teacher = pytest.mark.skipif(
    not (TEACHER / "open_clip_model.safetensors").exists(), reason="examples/teacher is not in this checkout"
)
needs_start = pytest.mark.skipif(
    not (START / "student.safetensors").exists(), reason="examples/start is not in this checkout"
)


def weighs(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def test_the_allow_list_names_no_evaluation_set():
    places = [source.place for source in demo_card.SOURCES]
    assert not [place for place in places for name in EVALUATION if name in place]
    assert [place for place in places if place.startswith("data/")] == [
        "data/general/imagenet1k_one_each",
        "data/general/grocery",
    ]


def test_every_source_comes_with_its_terms():
    assert all(source.terms and source.used for source in demo_card.SOURCES)


def test_a_card_takes_its_numbers_from_rows():
    row = {"figure": "a set", "value": 0.5, "low": 0.4, "high": 0.6, "command": "the command", "machine": "the machine"}
    card = demo_card.teacher_card([row], [row | {"value": 0.25}], "cosine 0.5")
    assert "| a set | 0.500 (0.400 .. 0.600) | 0.250 (0.400 .. 0.600) |" in card
    assert "the command" in card
    assert "the machine" in card


@needs_teacher
def test_the_cards_name_every_source_of_theirs_and_say_demonstration_only():
    cards = [(folder / "CARD.md").read_text(encoding="utf-8") for folder in (TEACHER, START)]
    assert all("Demonstration only" in card for card in cards)
    missing = [source.place for source in demo_card.SOURCES if not any(source.place in card for card in cards)]
    assert not missing


def test_evening_out_leaves_no_direction_of_difference_above_the_others():
    pytest.importorskip("scipy", reason="the [tools] extra")
    from edgedistill.teacher.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    import torch
    from teacher_image import even_out
    from torch import nn

    @torch.no_grad()
    def unevenness(head: nn.Module) -> float:
        spread = torch.linalg.eigvalsh(torch.cov(nn.functional.normalize(head(features), dim=-1).T))
        return float(spread[-1] / spread.mean())

    torch.manual_seed(0)
    features = torch.randn(400, 12) * torch.tensor([6.0, 3.0, *[1.0] * 10])
    head = nn.Sequential()
    head.fc2 = nn.Linear(12, 8, bias=False)
    as_it_was, before = head.fc2.weight.clone(), unevenness(head)
    even_out(head, features, strength=0.0)
    assert torch.allclose(head.fc2.weight, as_it_was, atol=1e-5)
    even_out(head, features, strength=0.5)
    assert 1 <= unevenness(head) < 0.8 * before


@needs_teacher
def test_the_teacher_is_small():
    assert weighs(TEACHER) <= 30e6


@needs_teacher
def test_open_clip_loads_the_teacher_as_any_other_folder():
    from edgedistill.teacher.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    import open_clip
    import torch

    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{TEACHER}", require_pretrained=True)
    tokens = open_clip.get_tokenizer(f"local-dir:{TEACHER}")(["a photo of a dog.", "a photo of a guitar."])
    model.eval()
    with torch.inference_mode():
        words = model.encode_text(tokens, normalize=True)
        picture = model.encode_image(preprocess(Image.new("RGB", (200, 180), "grey"))[None], normalize=True)
    assert words.dtype == torch.float32
    assert torch.isfinite(picture).all()
    assert float(model.logit_scale.detach().exp()) * (1 - float(words[0] @ words[1])) > 2


@needs_teacher
def test_the_teacher_has_a_mean_feature():
    from edgedistill.teacher.names import find_teacher

    mean = find_teacher(f"local-dir:{TEACHER}").mean_feature
    assert mean is not None
    assert 0 < np.linalg.norm(mean) < 1


@needs_teacher
@pytest.mark.skipif(not CHECK.is_dir(), reason="examples/parts/check is not in this checkout")
def test_the_teacher_names_parts_on_floors_and_under_lamps_it_never_saw():
    from edgedistill.teacher.names import find_teacher
    from edgedistill.teacher.tower import Teacher

    teacher = Teacher(find_teacher(f"local-dir:{TEACHER}"), dtype="float32")
    classes = sorted(path for path in CHECK.iterdir() if path.is_dir())
    words = teacher.encode_text([f"a photo of a {path.name.replace('_', ' ')}." for path in classes])
    right = []
    for number, folder in enumerate(classes):
        files = sorted(folder.iterdir())
        pictures = np.stack([teacher.centre(Image.open(path).convert("RGB")) for path in files[:: len(files) // 16]])
        right += list((teacher.encode_images(pictures) @ words.T).argmax(axis=1) == number)
    assert np.mean(right) >= 0.9


@needs_start
def test_the_start_is_small():
    assert weighs(START) <= 6e6


@needs_start
@needs_teacher
def test_the_start_was_made_for_this_teacher():
    from edgedistill.distil.student_files import load_student
    from edgedistill.teacher.names import find_teacher

    card = json.loads((START / "student.json").read_text(encoding="utf-8"))
    files = find_teacher(f"local-dir:{TEACHER}")
    assert card["name"] == "tf_mobilenetv3_small_100"
    assert card["preprocessing"]["size"] == 160
    assert card["teacher"]["hash"] == files.weight_hash
    _, projector_kept = load_student(START, dim=files.dim, teacher_hash=files.weight_hash, size=160)
    assert projector_kept
