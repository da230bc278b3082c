"""What tests of the teacher share: a copy to spoil, an empty hub cache, a tiny architecture of a known name."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest
from tiny_teacher import MODEL


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
