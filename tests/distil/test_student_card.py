"""student.json is read as it was written, and what is wrong in it is named by its key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgedistill.distil.student_card import Card, Layout, MadeFor, Pixels, read_card
from edgedistill.errors import InputError

CARD = Card(
    name="resnet10t",
    kwargs={"channels": [8, 8, 16, 16]},
    preprocessing=Pixels(mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.1), size=32),
    projector=Layout(depth=2, hidden=24, dim=12),
    teacher=MadeFor(id="T", hash="abc"),
)


def written(folder: Path, **changed: object) -> Path:
    """`folder` with CARD as student.json, keys changed, and a weights file beside it."""
    (folder / "student.json").write_text(json.dumps(CARD.to_json() | changed))
    (folder / "student.safetensors").touch()
    return folder


def test_a_card_comes_back_as_it_was_written(tmp_path: Path) -> None:
    assert read_card(written(tmp_path)) == CARD


def test_keys_of_others_are_passed_over(tmp_path: Path) -> None:
    assert read_card(written(tmp_path, notes="made on a Tuesday", licence="MIT")).licence == "MIT"


def test_a_projector_fits_the_very_teacher_it_was_made_for() -> None:
    assert CARD.fits(12, "abc")
    assert not CARD.fits(13, "abc")
    assert not CARD.fits(12, "abd")
    assert not Card(name="resnet10t", preprocessing=CARD.preprocessing).fits(12, "abc")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"kwargs": {"pretrained": True}}, r"student\.json: kwargs\.pretrained is not one of: channels, stem_width"),
        ({"kwargs": {"pretrained_cfg": {"url": "http://127.0.0.1/x"}}}, r"kwargs\.pretrained_cfg is"),
        ({"kwargs": {"pretrained_cfg_overlay": {"file": "/etc/passwd"}}}, r"kwargs\.pretrained_cfg_overlay is"),
        ({"kwargs": {"checkpoint_path": "/etc/passwd"}}, r"kwargs\.checkpoint_path is"),
        ({"kwargs": {"channels": "8888"}}, r"kwargs\.channels has to be a list"),
        ({"kwargs": {"channels": [8, True]}}, r"kwargs\.channels has to be a list"),
        ({"kwargs": {"stem_width": 10**9}}, r"kwargs\.stem_width has to be a whole number"),
        ({"name": "hf-hub:someone/net"}, "name is 'hf-hub:someone/net', not the plain name"),
        ({"name": "local-dir:/etc"}, "name is 'local-dir:/etc'"),
        ({"name": "timm/resnet18"}, "name is 'timm/resnet18'"),
        ({"name": "resnet18.a/b"}, "name is 'resnet18.a/b'"),
        ({"format": 9}, "format 1"),
        ({"name": 3}, "name"),
        ({"preprocessing": {"mean": [0.5], "std": [1, 1, 1]}}, r"preprocessing\.mean"),
        ({"preprocessing": {"mean": [0, 0, 0], "std": [1, 0, 1]}}, r"preprocessing\.std"),
        ({"preprocessing": {"mean": [0, 0, 0]}}, r"preprocessing\.std is missing"),
        ({"preprocessing": {"mean": [0, 0, 10**400], "std": [1, 1, 1]}}, r"preprocessing\.mean"),
        ({"preprocessing": {"mean": [0, 0, 0], "std": [1, 1e-320, 1]}}, r"preprocessing\.std"),
        ({"preprocessing": {"mean": [0, 0, 0], "std": [1, 1, 1], "size": -1}}, r"preprocessing\.size"),
        ({"kwargs": []}, "kwargs"),
        ({"projector": {"depth": 7, "hidden": 1, "dim": 1}}, r"projector\.depth"),
        ({"projector": {"depth": 2, "hidden": 10**9, "dim": 1}}, r"projector\.hidden"),
        ({"teacher": {}}, r"teacher\.hash"),
        ({"teacher": None}, r"teacher\.hash"),
    ],
)
def test_a_hostile_card_is_refused_by_field(tmp_path: Path, change: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        read_card(written(tmp_path, **change))
