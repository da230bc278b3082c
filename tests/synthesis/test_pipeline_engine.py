"""A tiny random pipeline of diffusers, as any other is used; and what is said where there is none."""

from __future__ import annotations

import importlib.util
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from painter import made_of_words

from edgedistill.errors import InputError
from edgedistill.synthesis import pipeline_engine
from edgedistill.synthesis.pipeline_engine import (
    GUIDANCE,
    STEPS,
    PipelineEngine,
    from_pipeline,
    has_safety_checker,
    settings_of,
)
from edgedistill.teacher.torchvision_ops import ensure_torchvision

SIZE = 32


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Stable Diffusion of random weights; its name makes it one of few steps."""
    pytest.importorskip("transformers")
    pytest.importorskip("diffusers")
    ensure_torchvision()
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    folder = tmp_path_factory.mktemp("pipelines")
    letters = list(map(chr, range(ord("a"), ord("z") + 1)))
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    (folder / "vocab.json").write_text(json.dumps({word: index for index, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=16)
    text = {
        "bos_token_id": 0,
        "eos_token_id": 1,
        "hidden_size": 32,
        "intermediate_size": 37,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
    }
    two_blocks = {"block_out_channels": (32, 64), "layers_per_block": 1, "norm_num_groups": 8}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = StableDiffusionPipeline(
            vae=AutoencoderKL(
                down_block_types=["DownEncoderBlock2D"] * 2,
                up_block_types=["UpDecoderBlock2D"] * 2,
                latent_channels=4,
                **two_blocks,
            ),
            text_encoder=CLIPTextModel(CLIPTextConfig(vocab_size=len(words), max_position_embeddings=16, **text)),
            tokenizer=tokenizer,
            unet=UNet2DConditionModel(
                sample_size=16,
                in_channels=4,
                out_channels=4,
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                cross_attention_dim=32,
                attention_head_dim=8,
                **two_blocks,
            ),
            scheduler=DDIMScheduler(steps_offset=1, clip_sample=False),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
    made.save_pretrained(folder / "tiny-turbo")
    (folder / "tiny-turbo" / "README.md").write_text("---\nlicense: openrail\n---\n")
    return folder / "tiny-turbo"


def test_images_follow_from_words_and_seeds_alone(pipeline: Path) -> None:
    prompts = made_of_words(2)
    engine = PipelineEngine(str(pipeline), "cpu", SIZE)
    together = engine.images(prompts, np.array([0, 1, 2]), seed=5)
    assert (together.shape, together.dtype) == ((3, SIZE, SIZE, 3), np.uint8)
    alone = engine.images(prompts, np.array([1]), seed=5)[0]
    assert np.abs(together[1].astype(int) - alone).max() <= 1  # a batch rounds otherwise, and no more
    other = engine.images(prompts, np.array([1]), seed=6)[0]
    assert np.abs(other.astype(int) - alone).max() > 1


def test_every_step_of_the_pipeline_is_told(pipeline: Path) -> None:
    told: list[tuple[int, int]] = []
    engine = PipelineEngine(str(pipeline), "cpu", SIZE)
    engine.images(made_of_words(1), np.array([0]), 0, lambda done, of: told.append((done, of)))
    assert told == [(step + 1, pipeline_engine.FEW_STEPS) for step in range(pipeline_engine.FEW_STEPS)]


def test_the_record_gets_the_licence_and_the_settings(pipeline: Path) -> None:
    source = from_pipeline(str(pipeline), "cpu", SIZE)
    assert source.facts["licence"] == "openrail"
    assert source.facts["num_inference_steps"] == pipeline_engine.FEW_STEPS
    assert source.identity != from_pipeline(str(pipeline), "cpu", 64).identity
    assert settings_of("some/model") == {"num_inference_steps": STEPS, "guidance_scale": GUIDANCE}


def test_prompts_without_words_are_refused(pipeline: Path) -> None:
    engine = PipelineEngine(str(pipeline), "cpu", SIZE)
    with pytest.raises(InputError, match=r"Use one with words \(plain, styles"):
        engine.images(replace(made_of_words(1), has_words=False), np.array([0]), 0)


def test_a_pipeline_that_is_not_here_is_one_error_with_what_is(pipeline: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no pipeline nobody/nothing: .*\n.*--engine teacher, which needs"):
        from_pipeline("nobody/nothing", "cpu", None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"holds no model_index.json\n.*--generated FOLDER"):
        from_pipeline(str(tmp_path / "empty"), "cpu", None)
    (tmp_path / "torn").mkdir()
    (tmp_path / "torn" / "model_index.json").write_text("{}")
    with pytest.raises(InputError, match="does not load"):
        from_pipeline(str(tmp_path / "torn"), "cpu", None).open()


@pytest.mark.parametrize("missing", pipeline_engine.PACKAGES)
def test_a_missing_package_is_named_with_the_line_that_installs_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else object())
    with pytest.raises(
        InputError, match=rf"{missing}, which is not installed\nIn a .*pip install .*synthesize.*\. Or --engine"
    ):
        from_pipeline("nobody/nothing", "cpu", None)


def test_a_diffusers_that_cannot_be_imported_is_two_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "diffusers.py").write_text("raise ImportError('\\n\\n  it needs requests\\nand more')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "diffusers"]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match=r"^diffusers cannot be imported: it needs requests\nIn a .*pip install"):
        PipelineEngine("nobody/nothing", "cpu", None)


def test_a_size_that_the_pipeline_refuses_is_two_lines(pipeline: Path) -> None:
    engine = PipelineEngine(str(pipeline), "cpu", 33)
    with pytest.raises(InputError, match=r"makes no images of 33 px: .*divisible by 8.*\nTry another --image-size"):
        engine.images(made_of_words(1), np.array([0]), seed=0)


@pytest.mark.filterwarnings("error:.*dtype.*:FutureWarning")
def test_a_pipeline_is_loaded_without_a_word_that_is_deprecated(pipeline: Path) -> None:
    PipelineEngine(str(pipeline), "cpu", SIZE)


@pytest.mark.parametrize(
    ("told", "keyword"),
    [("dtype (`torch.dtype`)", "dtype"), ("    torch_dtype (`str`)", "torch_dtype"), ("", "torch_dtype")],
)
def test_the_keyword_for_a_dtype_is_the_one_that_is_told_of(told: str, keyword: str) -> None:
    loader = type("Pipeline", (), {"from_pretrained": type("Method", (), {"__doc__": told})})
    assert pipeline_engine._dtype_keyword(loader) == keyword


@pytest.mark.parametrize(
    ("index", "there"),
    [
        ({"safety_checker": ["stable_diffusion", "StableDiffusionSafetyChecker"]}, True),
        ({"safety_checker": [None, None]}, False),
        ({"requires_safety_checker": True}, False),
    ],
)
def test_a_safety_checker_is_one_whose_class_is_named(index: dict[str, Any], there: bool, tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps(index))
    assert has_safety_checker(tmp_path / "model_index.json") is there


def test_an_index_that_is_torn_is_named(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text('{"a": 1')
    with pytest.raises(InputError, match=r"model_index.json cannot be read: .*\nFetch the pipeline again"):
        has_safety_checker(tmp_path / "model_index.json")
