"""A run half done, in one file that is whole or not there."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from ..targets.outside import LARGE, Unfit, parse_json
from ..targets.safetensors_header import read_header
from ..work import atomic
from ..work.plain_path import plain_path

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Everything that the rest of a run depends on. `key` names the run: another run's checkpoint is never used."""

    key: str
    epoch: int
    """How many epochs are done."""
    metrics: list[dict[str, Any]]
    warnings: list[str]
    tensors: dict[str, Tensor]

    def write(self, path: Path) -> None:
        """One safetensors file, put in place by a rename."""
        about = {
            "key": self.key,
            "epoch": str(self.epoch),
            "metrics": json.dumps(self.metrics),
            "warnings": json.dumps(self.warnings),
        }
        whole = {name: value.detach().cpu().contiguous().clone() for name, value in self.tensors.items()}
        about["sum"] = _sum(about, whole)
        atomic.write_bytes(path, save(whole, metadata=about))


def read_checkpoint(path: Path, key: str) -> Checkpoint | None:
    """The checkpoint at `path`; None where there is none, it is damaged, or it belongs to another run (logged)."""
    if not path.is_file():
        return None
    try:
        about = read_header(path).get("__metadata__", {})
        with plain_path(path) as plain, safe_open(plain, framework="pt") as file:
            about = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, Unfit) as error:
        log.warning("%s is damaged (%s): training starts again", path, error)
        return None
    if about.pop("sum", "") != _sum(about, tensors):
        log.warning("%s is damaged (its sum is another one): training starts again", path)
        return None
    if about.get("key") != key:
        log.warning("%s belongs to a run with other settings: training starts again", path)
        return None
    metrics, warnings = (parse_json(about[name].encode(), LARGE) for name in ("metrics", "warnings"))
    return Checkpoint(key, int(about["epoch"]), metrics, warnings, tensors)


def _sum(about: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256, hex, of all that a checkpoint holds."""
    found = hashlib.sha256(json.dumps([sorted(about.items()), sorted(tensors)]).encode())
    for _, tensor in sorted(tensors.items()):
        found.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
