"""transformers is reached with remote code refused, whatever a teacher's files ask for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from tiny_teacher import MODEL, PREPROCESS

from edgedistill.errors import InputError
from edgedistill.teacher.names import find_teacher
from edgedistill.teacher.remote_code import no_remote_code
from edgedistill.teacher.tokenizer import load_tokenizer

WEIGHTS = "open_clip_model.safetensors"


class Auto:
    """transformers' Auto classes: says what it was asked."""

    asked: ClassVar[list[dict[str, Any]]] = []

    @classmethod
    def from_pretrained(cls, name: str, **asked: Any) -> Any:
        cls.asked.append(asked)
        return SimpleNamespace(name=name)

    from_config = from_pretrained


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What transformers is asked for, call by call."""
    module = ModuleType("transformers")
    module.__dict__.update(AutoTokenizer=Auto)
    monkeypatch.setitem(sys.modules, "transformers", module)
    monkeypatch.setattr(Auto, "asked", [])
    return Auto.asked


def config(**text: Any) -> str:
    text = {**MODEL["text_cfg"], "hf_tokenizer_name": "someone/words", **text}
    return json.dumps({"model_cfg": {**MODEL, "text_cfg": text}, "preprocess_cfg": PREPROCESS})


def test_a_folders_tokeniser_is_read_without_its_code(folder: Path, asked: list[dict[str, Any]]) -> None:
    (folder / "open_clip_config.json").write_text(config(tokenizer_kwargs={"clean": "canonicalize"}))
    assert load_tokenizer(find_teacher(str(folder))).tokenizer.name == str(folder)
    assert [one["trust_remote_code"] for one in asked] == [False]


def test_a_tokeniser_that_lies_apart_is_read_without_its_code(
    hub_cache: Any, tiny_teacher_folder: Path, asked: list[dict[str, Any]]
) -> None:
    weights = (tiny_teacher_folder / WEIGHTS).read_bytes()
    hub_cache("someone/tiny", {"open_clip_config.json": config(tokenizer_kwargs=None).encode(), WEIGHTS: weights})
    hub_cache("someone/words", {"tokenizer.json": b"{}"})
    load_tokenizer(find_teacher("hf-hub:someone/tiny"))
    assert [one["trust_remote_code"] for one in asked] == [False]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("trust_remote_code", True),
        ("code_revision", "main"),
        ("bpe_path", "/etc/passwd"),
        ("cache_dir", "/tmp"),
        ("clean", "else"),
        ("strip_sep_token", 1),
    ],
)
@pytest.mark.parametrize("words", ["someone/words", None])
def test_arguments_for_a_tokeniser_are_those_of_open_clips_own(
    folder: Path, asked: list[dict[str, Any]], key: str, value: Any, words: str | None
) -> None:
    file = folder / "open_clip_config.json"
    file.write_text(config(hf_tokenizer_name=words, tokenizer_kwargs={key: value}))
    with pytest.raises(InputError) as raised:
        find_teacher(str(folder))
    assert raised.value.wrong.startswith(f"{file}: model_cfg.text_cfg.tokenizer_kwargs.{key} is")
    assert asked == []


def test_text_towers_of_transformers_are_made_without_their_code(
    monkeypatch: pytest.MonkeyPatch, asked: list[dict[str, Any]]
) -> None:
    from edgedistill.teacher.torchvision_ops import ensure_torchvision

    ensure_torchvision()
    from open_clip import hf_model

    for name in ("AutoConfig", "AutoModel"):
        monkeypatch.setattr(hf_model, name, Auto, raising=False)
    with no_remote_code():
        hf_model.AutoConfig.from_pretrained("someone/words")
        hf_model.AutoModel.from_config({}, add_pooling_layer=True)
    assert asked == [{"trust_remote_code": False}, {"trust_remote_code": False, "add_pooling_layer": True}]
    assert hf_model.AutoModel is Auto
