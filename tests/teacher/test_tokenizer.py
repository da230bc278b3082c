"""A tokeniser that lies apart is read from files, or said to be missing at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_teacher import DIM, MODEL, PREPROCESS

from edgedistill.errors import InputError
from edgedistill.teacher.names import find_teacher
from edgedistill.teacher.tower import Teacher

WEIGHTS = "open_clip_model.safetensors"


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
