"""PromptKD's student: the frozen tower of a CLIP, on its way through training, files and export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from edgedistill.classes.class_vectors import ClassVectors
from edgedistill.classes.templates import Templates
from edgedistill.distil.batches import BatchReader
from edgedistill.distil.captured import CapturedStep
from edgedistill.distil.config import TrainConfig
from edgedistill.distil.loop import train
from edgedistill.distil.methods.kd import KD
from edgedistill.distil.prompted_tower import PromptedTower, TowerShape, prompted_tower
from edgedistill.distil.schedule import Rates, Schedule
from edgedistill.distil.step import Learner, groups
from edgedistill.distil.student import Student
from edgedistill.distil.student_card import PROMPTED
from edgedistill.distil.student_files import load_student, save_student
from edgedistill.distil.student_start import create_student, plan, plan_again
from edgedistill.errors import InputError
from edgedistill.export.graph import GraphFacts, GraphSpec
from edgedistill.export.models import export_models
from edgedistill.teacher.names import find_teacher
from edgedistill.teacher.store import TeacherStore

from .colours import DIM, SIZE, VIEWS, config, lesson

EMBED, WIDTH, LAYERS = 10, 16, 3
VISION = {"image_size": SIZE, "layers": LAYERS, "width": WIDTH, "patch_size": 8, "head_width": 8}
TEXT = {"context_length": 4, "vocab_size": 50, "width": 8, "heads": 1, "layers": 1}
CPU = torch.device("cpu")


def clip(**vision: Any) -> open_clip.CLIP:
    torch.manual_seed(0)
    return open_clip.CLIP(EMBED, VISION | vision, TEXT, quick_gelu=True).eval()


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"))


def write_clip(folder: Path) -> Path:
    model = {"embed_dim": EMBED, "vision_cfg": VISION, "text_cfg": TEXT, "quick_gelu": True}
    cfg = {"model_cfg": model, "preprocess_cfg": {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}}
    (folder / "open_clip_config.json").write_text(json.dumps(cfg))
    save_file({k: v.contiguous() for k, v in clip().state_dict().items()}, folder / "open_clip_model.safetensors")
    return folder


def kwargs(**changed: Any) -> dict[str, Any]:
    return {"vision_cfg": VISION, "embed_dim": EMBED, "quick_gelu": True, "tokens": 4, "depth": 2, **changed}


def tower(**changed: Any) -> PromptedTower:
    model = clip(**changed.get("vision_cfg", {}))
    changed["vision_cfg"] = VISION | changed.get("vision_cfg", {})
    return prompted_tower(kwargs(**changed), model.state_dict())


def start(folder: Path, dim: int = DIM) -> Student:
    return create_student(plan(PROMPTED, f"local-dir:{folder}", "resnet18", SIZE), dim, "c0", size=SIZE)[0]


def pixels(n: int = 3) -> Tensor:
    return torch.randn(n, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))


def photos(n: int = 3) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (n, SIZE, SIZE, 3), dtype=np.uint8)


# ---- the tower -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vision", [{}, {"pool_type": "avg"}, {"final_ln_after_pool": True}, {"no_ln_pre": True}])
def test_without_tokens_the_features_are_open_clips_own(vision: dict[str, Any]) -> None:
    mine = tower(depth=0, vision_cfg=vision)
    assert torch.allclose(mine(pixels()), clip(**vision).encode_image(pixels()), atol=1e-5)


def block_by_hand(block: Any, x: np.ndarray, heads: int) -> np.ndarray:
    """One pre-norm transformer block with the quick activation in numpy, x [T,width]."""
    weights = {name: value.detach().double().numpy() for name, value in block.named_parameters()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        spread = np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return (x - x.mean(-1, keepdims=True)) / spread * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    q, k, v = np.split(norm(x, "ln_1") @ weights["attn.in_proj_weight"].T + weights["attn.in_proj_bias"], 3, axis=-1)
    out = []
    for part in range(heads):
        mine = slice(part * x.shape[1] // heads, (part + 1) * x.shape[1] // heads)
        logits = q[:, mine] @ k[:, mine].T / np.sqrt(x.shape[1] / heads)
        share = np.exp(logits - logits.max(-1, keepdims=True))
        out.append(share / share.sum(-1, keepdims=True) @ v[:, mine])
    x = x + np.concatenate(out, -1) @ weights["attn.out_proj.weight"].T + weights["attn.out_proj.bias"]
    inner = norm(x, "ln_2") @ weights["mlp.c_fc.weight"].T + weights["mlp.c_fc.bias"]
    inner = inner / (1 + np.exp(-1.702 * inner))
    return x + inner @ weights["mlp.c_proj.weight"].T + weights["mlp.c_proj.bias"]


def test_every_prompted_layer_has_its_own_tokens_beside_the_images() -> None:
    mine = tower(depth=2).double()
    with torch.no_grad():
        mine.tokens.mul_(50)  # of a size with the image's own, so that they count
    visual, tokens = mine.tower, mine.tokens.detach()
    x = visual._embeds(pixels(1).double())[0].detach().numpy()
    own = len(x)
    for layer, block in enumerate(visual.transformer.resblocks):
        if layer == 0:
            x = np.concatenate([x, visual.ln_pre(tokens[0]).detach().numpy()])
        elif layer == 1:
            x = np.concatenate([x[:own], tokens[1].numpy()])
        x = block_by_hand(block, x, heads=WIDTH // 8)
    pooled = visual.ln_post(torch.from_numpy(x[:1])) @ visual.proj
    assert torch.allclose(mine(pixels(1).double()), pooled, atol=1e-9)
    assert not torch.allclose(mine(pixels(1).double()), visual(pixels(1).double()), atol=1e-2)


def test_only_tokens_take_a_gradient_and_the_tower_stays_in_eval_mode() -> None:
    mine = tower(vision_cfg={"patch_dropout": 0.5}).train()
    assert [name for name, value in mine.named_parameters() if value.requires_grad] == ["tokens"]
    assert torch.equal(mine(pixels()), mine(pixels())), "patches were dropped"
    mine(pixels()).square().sum().backward()
    assert (mine.tokens.grad.abs().sum((1, 2)) > 0).all()  # type: ignore[union-attr]


def test_four_tokens_at_nine_layers_or_at_all_there_are(clip_folder: Path) -> None:
    found = TowerShape.of(find_teacher(f"local-dir:{clip_folder}"))
    assert (found.tokens, found.depth) == (4, LAYERS)
    assert TowerShape.of(find_teacher_like({"layers": 12})).depth == 9


def find_teacher_like(vision: dict[str, Any]) -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(id="some CLIP", architecture={"embed_dim": 8, "vision_cfg": {"width": 8} | vision})


@pytest.mark.parametrize("vision", [{"timm_model_name": "convnext_base"}, {"layers": [3, 4, 6, 3]}])
def test_a_tower_without_tokens_of_its_own_is_refused(vision: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="some CLIP takes no prompt tokens"):
        TowerShape.of(find_teacher_like(vision))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"depth": LAYERS + 1}, "4 tokens at 4 of 3 layers"),
        ({"tokens": 0}, "kwargs.tokens is 0"),
        ({"tokens": 10**9}, "kwargs.tokens is 1000000000"),
        ({"embed_dim": 0}, "kwargs.embed_dim is 0"),
        ({"vision_cfg": VISION | {"width": "48"}}, "kwargs.vision_cfg.width is '48'"),
        ({"vision_cfg": VISION | {"patch_size": 0}}, "kwargs.vision_cfg.patch_size is 0"),
        ({"vision_cfg": VISION | {"norm_kwargs": {"device": "x"}}}, "kwargs.vision_cfg.norm_kwargs.device"),
        ({"vision_cfg": VISION | {"timm_model_name": "local-dir:/etc"}}, "timm_model_name is 'local-dir:/etc'"),
        ({"more": 1}, "kwargs.more"),
        ({"vision_cfg": {"timm_model_name": "vit_base", "layers": 12}}, "timm's"),
        ({"vision_cfg": VISION | {"wings": 2}}, "wings"),
        ({"vision_cfg": VISION | {"qk_norm": True}}, "plain blocks"),
    ],
)
def test_kwargs_that_describe_no_tower_are_refused(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        prompted_tower(kwargs(**changed))


# ---- planning and files ----------------------------------------------------------------------------------------------


def test_it_starts_from_a_clip_that_is_named_as_a_teacher_is(clip_folder: Path) -> None:
    found = plan(PROMPTED, f"local-dir:{clip_folder}", "resnet18", SIZE)
    assert (found.source, found.reason) == (
        "tower",
        f"{PROMPTED} on the frozen image tower of local-dir:{clip_folder.name}",
    )
    assert str(clip_folder.parent) not in str(found.key)
    student = start(clip_folder)
    assert torch.equal(student.backbone.tower.proj, clip().visual.proj)  # type: ignore[union-attr]
    assert student.std.tolist() == pytest.approx([0.2, 0.3, 0.25])
    assert [tuple(p.shape) for p in student.projector.parameters() if p.ndim == 2] == [(DIM, EMBED), (DIM, DIM)]
    assert not student.pretrained, "its tokens are fresh: they learn at the full rate"


def test_a_profiles_student_may_be_the_prompted_one(clip_folder: Path) -> None:
    assert plan(None, str(clip_folder), PROMPTED, SIZE).name == PROMPTED


def test_another_input_size_is_refused_in_two_lines(clip_folder: Path) -> None:
    with pytest.raises(InputError, match="does not take 64 px images: its positions are of 32 px images") as error:
        plan(PROMPTED, f"local-dir:{clip_folder}", "resnet18", 64)
    assert "--input-size 32" in error.value.todo
    assert len(str(error.value).splitlines()) == 2


def test_from_scratch_is_refused() -> None:
    with pytest.raises(InputError, match="never trains its tower"):
        plan(PROMPTED, "none", "resnet18", SIZE)


def test_without_the_papers_clip_the_error_names_what_was_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for ask in (lambda: plan(PROMPTED, "auto", "resnet18", 224), lambda: plan_again(PROMPTED, "tower", "abc")):
        with pytest.raises(InputError, match="ViT-B-16/openai") as error:
            ask()
        assert "--student-weights" in error.value.todo


def test_damaged_weights_of_a_clip_are_named(tmp_path: Path) -> None:
    weights = write_clip(tmp_path) / "open_clip_model.safetensors"
    state = load_file(weights)
    save_file({name: value for name, value in state.items() if "resblocks.1" not in name}, weights)
    with pytest.raises(InputError, match="is not the tower of its CLIP") as error:
        start(tmp_path)
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=f"{weights} is damaged") as error:
        start(tmp_path)
    assert "Delete" not in error.value.todo, "the file is the user's own"


def test_saved_and_loaded_it_is_the_same_student_without_its_clip(clip_folder: Path, tmp_path: Path) -> None:
    student = start(clip_folder).eval()
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        save_student(folder, student, teacher_id="T", teacher_hash="c0", size=SIZE)
        student, kept = load_student(folder, dim=DIM, teacher_hash="c0", size=SIZE)
        assert kept
        assert not any(p.requires_grad for p in student.backbone.tower.parameters())  # type: ignore[union-attr]
    for file in ("student.safetensors", "student.json"):
        assert (folders[0] / file).read_bytes() == (folders[1] / file).read_bytes()
    image = torch.from_numpy(photos())
    assert torch.equal(student.eval()(image)[1], start(clip_folder).eval()(image)[1])
    found = plan(None, str(folders[0]), "resnet18", SIZE)
    assert (found.name, found.source) == (PROMPTED, "folder")


# ---- training and export ---------------------------------------------------------------------------------------------


def parts(student: Student) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(frozen, learning) of its weights and BatchNorm statistics, copied."""
    state = {name: value.detach().clone() for name, value in student.state_dict().items()}
    frozen = {name: value for name, value in state.items() if name.startswith("backbone.tower.")}
    return frozen, {name: value for name, value in state.items() if name not in frozen}


def test_the_optimiser_gets_tokens_and_projector_alone(clip_folder: Path) -> None:
    student = start(clip_folder).requires_grad_(False).requires_grad_(True)
    given = {id(p) for group in groups(student, config(), lr=1e-3) for p in group["params"]}
    backbone = student.backbone
    assert isinstance(backbone, PromptedTower)
    assert given == {id(p) for p in (backbone.tokens, *student.projector.parameters())}


def test_training_moves_tokens_and_projector_and_no_frozen_weight(
    store: TeacherStore, clip_folder: Path, tmp_path: Path
) -> None:
    student = start(clip_folder)
    frozen, learning = parts(student)
    result = train(student, lesson(store, KD()), config(epochs=3), tmp_path)
    assert result.metrics[-1]["total"] < result.metrics[0]["total"]
    after, moved = parts(result.student)
    assert all(torch.equal(frozen[name], value) for name, value in after.items())
    assert all(not torch.equal(learning[name], value) for name, value in moved.items())
    loaded, _ = load_student(tmp_path, dim=DIM, teacher_hash="c0", size=SIZE)
    assert torch.equal(loaded.backbone.tokens, result.student.backbone.tokens)  # type: ignore[arg-type]


def test_the_step_that_a_gpu_records_is_the_same(store: TeacherStore, clip_folder: Path) -> None:
    settings: TrainConfig = config(views="match")
    plain, other = (Learner(start(clip_folder), lesson(store, KD()), settings, CPU) for _ in range(2))
    rows = np.arange(12)
    batch = BatchReader(store=store, size=SIZE, with_mean=False).read(rows, rows % VIEWS)
    rates = Schedule(config=settings, steps=4, views=VIEWS)
    captured = CapturedStep(other, batch, rates.in_tensors(0, CPU))
    for step in range(4):
        found, same = plain.step(batch, rates.at(step)), captured(batch, rates.at(step))
        assert found["total"].item() == pytest.approx(same["total"].item(), rel=1e-5)
    same_tokens = plain.live.backbone.tokens, other.live.backbone.tokens
    assert torch.allclose(*same_tokens, atol=1e-4)  # type: ignore[arg-type]


def test_bfloat16_reaches_the_tokens(store: TeacherStore, clip_folder: Path) -> None:
    learner = Learner(start(clip_folder), lesson(store, KD()), config(dtype="bfloat16"), CPU)
    before = learner.live.backbone.tokens.detach().clone()  # type: ignore[union-attr,operator]
    rows = np.arange(12)
    learner.step(
        BatchReader(store=store, size=SIZE, with_mean=False).read(rows, rows % VIEWS), Rates(lr=1.0, eta=0.0, decay=0.5)
    )
    assert (learner.live.backbone.tokens != before).any()  # type: ignore[union-attr]


@pytest.mark.parametrize("dynamic", [False, True])
def test_the_exported_graph_computes_what_torch_computes(clip_folder: Path, tmp_path: Path, dynamic: bool) -> None:
    student = start(clip_folder)
    names = ("bolt", "nut")
    drawn = np.random.default_rng(1).normal(size=(2, DIM)).astype(np.float32)
    classes = ClassVectors(drawn, drawn, np.ones(1), "uniform", "none", 20.0, names, Templates("one", ("{}",)))
    facts = GraphFacts(labels=names, teacher_id="T", build_id="b" * 64)
    spec = GraphSpec(size=SIZE, dynamic_batch=dynamic)
    made = export_models(student, classes, tmp_path, facts=facts, images=photos(), spec=spec)
    assert [(model.precision, model.max_abs_diff <= 1e-2) for model in made.models] == [("fp32", True), ("fp16", True)]
    session = onnxruntime.InferenceSession(str(tmp_path / "fp32.onnx"), providers=["CPUExecutionProvider"])
    images = photos() if dynamic else photos(1)
    embedding = session.run(["embedding"], {"image": images})[0]
    with torch.inference_mode():
        expected = torch.nn.functional.normalize(student.eval()(torch.from_numpy(images))[1], dim=-1)
    assert np.abs(embedding - expected.numpy()).max() < 1e-4
