"""The files of a teacher that was found but not loaded, and reading those that are small."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..targets.outside import Unfit
from ..targets.safetensors_header import read_header
from ..work import atomic
from ..work.plain_path import plain_path
from .architecture import check_architecture
from .preprocessing import read_json_object

CONFIG_FILE = "open_clip_config.json"
MEAN_FEATURE_FILE = "mean_feature.safetensors"
MEAN_FEATURE_TENSOR = "mean_feature"
_FLOATS = ("F32", "F16", "F64")
# In open_clip's order of preference: it picks by this order in a folder, and what is hashed must be what is loaded.
WEIGHT_FILES = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.pth",
    "model.pth",
)
HUB_WEIGHT_FILES = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")


@dataclass(frozen=True, eq=False)
class TeacherFiles:
    """A teacher that was found but not loaded."""

    id: str
    """Its name in manifests and logs; a folder or file by its last component, never by a path of this machine."""
    weights: Path
    architecture: dict[str, Any] = field(repr=False)
    """open_clip's `model_cfg`, activation settled."""
    preprocess: dict[str, Any]
    """size, mean, std, interpolation, resize_mode, fill_color: all of it explicit."""
    licence: str
    mean_feature: np.ndarray | None = field(repr=False)
    """float32 [D], the mean unit image feature over a broad image set (zero-shot prompt weights), or None."""
    source: str = field(repr=False)
    """What open_clip is asked to build: one of its model names, or local-dir:FOLDER."""
    tokenizer: str = field(repr=False)
    """What open_clip is asked for unless `tokenizer_repo` is given."""
    tokenizer_repo: str | None = field(repr=False)
    """The hub's repository of a tokeniser that lies apart from the weights (SigLIP's and others), or None."""

    @cached_property
    def weight_hash(self) -> str:
        """SHA-256 of the weights file, hex; read from disk on first use. Raises InputError if it cannot be read."""
        try:
            return atomic.sha256_file(self.weights)
        except OSError as error:
            raise InputError(
                f"the weights of teacher {self.id} cannot be read: {self.weights}: {error.strerror}",
                "Make the file readable, or choose another teacher.",
            ) from error

    @property
    def transform_id(self) -> str:
        """Digest of all that shapes a feature beside the weights: preprocessing and architecture."""
        return atomic.digest({"preprocess": self.preprocess, "architecture": self.architecture})

    @property
    def image_size(self) -> int:
        return int(self.preprocess["size"])

    @property
    def dim(self) -> int:
        return int(self.architecture["embed_dim"])


def weights_in(folder: Path) -> Path | None:
    """The weights file that open_clip loads from a model folder."""
    return next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(model_cfg, preprocess_cfg) of an open_clip_config.json."""
    config = read_json_object(path, "the teacher's configuration")
    model, preprocess = config.get("model_cfg"), config.get("preprocess_cfg", {})
    if not isinstance(model, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= model.keys():
        raise InputError(
            f"{path} has no complete model_cfg (embed_dim, vision_cfg, text_cfg)",
            "Use a model folder as open_clip writes it (its push_to_hf_hub, or a download from the hub).",
        )
    if not isinstance(preprocess, dict):
        raise InputError(
            f"{path}: preprocess_cfg is not an object", "Write mean, std, interpolation and resize_mode there."
        )
    check_architecture(model, str(path))
    return model, preprocess


def read_mean_feature(path: Path, dim: int) -> np.ndarray | None:
    """float32 [dim] of a file that need not be there. Raises InputError for one that holds anything else."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None
    remedy = "Write it again, or delete it."
    try:
        about = read_header(path).get(MEAN_FEATURE_TENSOR)
        if about is None or about["dtype"] not in _FLOATS or about["shape"] != [dim]:
            found = "no such tensor" if about is None else f"{about['dtype']} of shape {about['shape']}"
            raise InputError(
                f"{path}: {MEAN_FEATURE_TENSOR} must be {dim} finite numbers, {' or '.join(_FLOATS)} ({found})", remedy
            )
        with plain_path(path) as plain, safe_open(plain, framework="numpy") as tensors, np.errstate(over="ignore"):
            feature = tensors.get_tensor(MEAN_FEATURE_TENSOR).astype(np.float32)
    except (SafetensorError, OSError, Unfit) as error:
        raise InputError(f"{path} cannot be read: {error}", remedy) from error
    if not np.isfinite(feature).all():
        raise InputError(f"{path}: {MEAN_FEATURE_TENSOR} holds values that are not finite", remedy)
    return np.asarray(feature)
