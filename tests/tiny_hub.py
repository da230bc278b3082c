"""The hub's cache as it is after a download: timm weights, drawn at random."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from edgedistill.teacher.torchvision_ops import ensure_torchvision

ensure_torchvision()
import timm  # noqa: E402


def cache_hub_weights(cache: Path, name: str) -> tuple[Path, torch.nn.Module]:
    """(the file in `cache` that holds timm's published weights of `name`, the network they are of)."""
    repository = timm.get_pretrained_cfg(name).hf_hub_id
    place = cache / f"models--{repository.replace('/', '--')}"
    snapshot = place / "snapshots" / "0000"
    snapshot.mkdir(parents=True)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0000")
    torch.manual_seed(3)
    published = timm.create_model(name)
    save_file(published.state_dict(), snapshot / "model.safetensors")
    return snapshot / "model.safetensors", published
