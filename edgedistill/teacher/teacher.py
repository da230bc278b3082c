"""Teachers, all through open_clip: finding their weights without building anything, then text and image features.

A teacher is named in one of four ways:

    MODEL/PRETRAINED     open_clip's own table: ViT-B-16/datacomp_xl_s13b_b90k
    hf-hub:ORG/NAME      an open_clip model on the hub
    local-dir:FOLDER     open_clip_config.json and a weights file (a plain FOLDER means the same)
    FILE                 a checkpoint, with its architecture and its preprocessing given beside it

`find_teacher` settles which files, which hash, which preprocessing and which licence, so that a build whose features
are stored never loads the network. `Teacher` builds it, with the weights or not at all: open_clip would go on with
random ones and a log line. Nothing here trains.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import json
import logging
import math
import pickle
import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import EdgeDistillError, InputError
from ..work import atomic
from . import hub
from .torchvision_ops import ensure_torchvision

if TYPE_CHECKING:
    import torch
    from PIL import Image

log = logging.getLogger(__name__)

CONFIG_FILE = "open_clip_config.json"
MEAN_FEATURE_FILE = "mean_feature.safetensors"
MEAN_FEATURE_TENSOR = "mean_feature"

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
# A tokeniser of transformers': its settings, then its vocabulary in order of preference.
TOKENIZER_SETTINGS = ("config.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json")
VOCABULARIES = ("tokenizer.json", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model", "vocab.txt")
CHECKPOINT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".npz")

# open_clip's tables carry no licence. These are what the weights' own pages state; where we are not sure, we say so.
LICENCES = (
    ("laion/", "MIT"),
    ("apple/", "Apple research licence: see the weights' page"),
    ("timm/MobileCLIP2-", "Apple research licence: see the weights' page"),
    ("timm/PE-Core-", "Apache-2.0"),
    ("timm/ViT-B-16-SigLIP", "Apache-2.0"),
    ("timm/ViT-B-32-SigLIP", "Apache-2.0"),
    ("timm/ViT-L-16-SigLIP", "Apache-2.0"),
    ("timm/ViT-SO400M-", "Apache-2.0"),
)
TAG_LICENCES = (("openai", "MIT"), ("metaclip_", "CC-BY-NC-4.0"))
UNKNOWN_LICENCE = "unknown: see the weights' page"

PREPROCESS_KEYS = ("mean", "std", "interpolation", "resize_mode")

_INTERPOLATIONS = ("bicubic", "bilinear")
_RESIZE_MODES = ("shortest", "longest", "squash")


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
    """float32 [D], the mean unit image feature over a broad image set (W3 prompt weights), or None."""
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
                "make the file readable, or choose another teacher",
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


class Teacher:
    """A frozen open_clip model: unit text and image features in one space of `dim` coordinates.

    The text tower stays in float32 (it runs once and shapes every class vector); the image tower runs in `dtype`
    (`torch_dtype` is the same as torch names it). `model` is open_clip's own, for whoever times the bare forward pass.
    Same input, same batch, same threads: same bytes. Raises InputError if the weights do not fit, are damaged, or hold
    a value that is not finite.
    """

    def __init__(self, files: TeacherFiles, device: str = "cpu", dtype: str = "auto") -> None:
        import torch

        self.files = files
        self.id, self.dim, self.image_size = files.id, files.dim, files.image_size
        self.device = torch.device(device)
        self.model, self._tokenizer = _build(files)
        self.model.eval().requires_grad_(False).to(self.device)
        self.scale = float(self.model.logit_scale.exp())
        self._geometry = geometric_part(files.preprocess)
        self._mean = torch.tensor(files.preprocess["mean"], device=self.device).view(3, 1, 1)
        self._std = torch.tensor(files.preprocess["std"], device=self.device).view(3, 1, 1)
        # A vision transformer has one convolution and gains nothing; a convolutional tower likes its channels last.
        convolutions = sum(isinstance(module, torch.nn.Conv2d) for module in self.model.visual.modules())
        self._layout = torch.channels_last if convolutions > 1 else torch.contiguous_format
        self.model.visual.to(memory_format=self._layout)
        if dtype not in ("auto", "float32", "bfloat16"):
            raise ValueError(f"dtype {dtype!r} is not auto, float32 or bfloat16")
        if dtype == "auto":
            chosen, self.dtype_reason = choose_dtype(self.model.visual, self._example_batch(), self.device)
        else:
            chosen, self.dtype_reason = getattr(torch, dtype), "asked for"
        self.torch_dtype: torch.dtype = chosen
        self.dtype = str(chosen).removeprefix("torch.")
        self.model.visual.to(chosen)
        log.debug("teacher %s on %s in %s: %s", self.id, self.device, self.dtype, self.dtype_reason)

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, D], unit rows. Prompts longer than the tower's context are cut by its tokeniser."""
        import torch
        from torch.nn import functional

        if self._tokenizer is None:
            raise EdgeDistillError(
                f"the text tower of teacher {self.id} is gone: free_text() was called", "load the teacher again"
            )
        with torch.inference_mode():
            tokens = self._tokenizer(list(texts)).to(self.device)
            features = functional.normalize(self.model.encode_text(tokens).float(), dim=-1)
        return self._finite(features, "text")

    def centre(self, image: Image.Image) -> np.ndarray:
        """uint8 [S, S, 3]: an upright RGB image through the geometric half of the teacher's own preprocessing."""
        return np.array(self._geometry(image), dtype=np.uint8)

    def encode_images(self, images: np.ndarray | torch.Tensor) -> np.ndarray:
        """float32 [N, D], unit rows, from uint8 [N, S, S, 3] RGB at the teacher's size; one forward pass.

        `centre` and this together are the teacher's own preprocessing exactly, division and normalisation included.
        """
        import torch
        from torch.nn import functional

        with torch.inference_mode():
            pixels = self.normalised(images).to(self.torch_dtype)
            features = functional.normalize(self.model.encode_image(pixels).float(), dim=-1)
        return self._finite(features, "image")

    def free_text(self) -> None:
        """Drops the text tower; encode_text fails from here on."""
        self._tokenizer = None
        for name in ("text", "transformer", "token_embedding", "text_decoder"):
            if hasattr(self.model, name):
                delattr(self.model, name)

    def normalised(self, images: np.ndarray | torch.Tensor) -> torch.Tensor:
        """float32 [N, 3, S, S] on the teacher's device, as `model` takes it: uint8 [N, S, S, 3], scaled and normalised.

        Raises ValueError for another shape or type.
        """
        import torch

        size = self.image_size
        if images.ndim != 4 or tuple(images.shape[1:]) != (size, size, 3):
            raise ValueError(f"images must be uint8 [N, {size}, {size}, 3], got shape {tuple(images.shape)}")
        pixels = torch.as_tensor(np.array(images) if isinstance(images, np.ndarray) else images)
        if pixels.dtype != torch.uint8:
            raise ValueError(f"images must be uint8, got {pixels.dtype}")
        pixels = pixels.to(self.device).permute(0, 3, 1, 2).to(torch.float32, memory_format=self._layout)
        return pixels.div_(255).sub_(self._mean).div_(self._std)

    def _example_batch(self) -> torch.Tensor:
        """Normalised float32 [8, 3, S, S] for timing: blocks of random colour, fixed seed."""
        pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 8, 3), dtype=np.uint8)
        cell = -(-self.image_size // 8)
        pixels = pixels.repeat(cell, axis=1).repeat(cell, axis=2)[:, : self.image_size, : self.image_size]
        return self.normalised(pixels)

    def _finite(self, features: torch.Tensor, kind: str) -> np.ndarray:
        array = features.cpu().numpy()
        bad = np.flatnonzero(~np.isfinite(array).all(axis=1))
        if len(bad):
            raise InputError(
                f"teacher {self.id} gave a non-finite {kind} feature (item {bad[0]} of {len(array)}, {self.dtype})",
                "try --teacher-dtype float32; if that does not help, the weights are damaged: use others",
            )
        return array


def choose_dtype(tower: torch.nn.Module, images: torch.Tensor, device: torch.device) -> tuple[torch.dtype, str]:
    """bfloat16 where it is at least 1.2 times as fast as float32 on these images and gives the same features.

    Interleaved, best of up to ten after a warm-up, fewer where that would take longer than some five seconds. "The
    same" is a cosine of at least 0.999 for every image. Returns the dtype and the reason. A timed choice:
    callers record it and fix it on resume.
    """
    import torch
    from torch.nn import functional

    towers = {torch.float32: tower, torch.bfloat16: copy.deepcopy(tower).to(torch.bfloat16)}
    batches = {dtype: images.to(dtype) for dtype in towers}
    best = dict.fromkeys(towers, math.inf)
    features: dict[torch.dtype, torch.Tensor] = {}
    began = time.perf_counter()
    with torch.inference_mode():
        for trial in range(11):
            for dtype, candidate in towers.items():
                start = time.perf_counter()
                output = candidate(batches[dtype])
                features[dtype] = functional.normalize(_first(output).float(), dim=-1)
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                if trial:  # the first one warms up
                    best[dtype] = min(best[dtype], time.perf_counter() - start)
            if trial and time.perf_counter() - began > 5:
                break
    ratio = best[torch.float32] / best[torch.bfloat16]
    cosine = float((features[torch.float32] * features[torch.bfloat16]).sum(dim=-1).min())
    measured = f"bfloat16 is {ratio:.2f} times as fast as float32 on {device.type}, lowest cosine {cosine:.4f}"
    if ratio >= 1.2 and cosine >= 0.999:
        return torch.bfloat16, measured
    return torch.float32, measured


def find_teacher(
    name: str, *, arch: str | None = None, preprocess: Path | None = None, fetch: bool = True
) -> TeacherFiles:
    """The files behind a teacher's name (see the module), fetched if need be; no network is built.

    arch: open_clip's name of the architecture; for a checkpoint file, and only there.
    preprocess: a JSON file with mean, std, interpolation and resize_mode, in place of what comes with the weights.
    fetch: False looks in local places only.
    Raises InputError naming what was looked for and what is there instead.
    """
    ensure_torchvision()
    given = read_preprocess(preprocess) if preprocess is not None else None
    path = Path(name)
    is_file = path.is_file() or path.suffix in CHECKPOINT_SUFFIXES
    if is_file and not name.startswith(("local-dir:", "hf-hub:")):
        return _from_checkpoint(path, arch, given)
    if arch is not None:
        raise InputError(
            f"--teacher-arch {arch} belongs to a checkpoint file, and --teacher is {name!r}",
            "leave it out, or give the weights file as --teacher FILE",
        )
    if name.startswith("local-dir:"):
        return _from_folder(Path(name.removeprefix("local-dir:")), given)
    if name.startswith("hf-hub:"):
        return _from_hub(name.removeprefix("hf-hub:"), given, fetch)
    if path.is_dir():
        return _from_folder(path, given)
    return _from_table(name, given, fetch)


def _from_table(name: str, given: dict[str, Any] | None, fetch: bool) -> TeacherFiles:
    import open_clip

    model, _, tag = name.rpartition("/")
    model = model.replace("/", "-")  # ViT-B/32 is ViT-B-32
    known: dict[str, Any] | None = open_clip.get_model_config(model) if model else None
    entry = open_clip.get_pretrained_cfg(model, tag) if known is not None else {}
    if known is None or not entry:
        raise no_such_teacher(name, model, tag, known is not None)
    # The table knows which weights were trained with the quick activation; the architecture of that name does not.
    quick_gelu = bool(entry.get("quick_gelu") or known.get("quick_gelu"))
    architecture = {**known, "quick_gelu": True} if quick_gelu else known
    settled = settle_preprocess(given or entry, architecture, name)
    repo, _, filename = entry.get("hf_hub", "").rpartition("/")
    filenames = (filename,) if filename else HUB_WEIGHT_FILES
    if filename.endswith((".bin", ".pth")):
        filenames = (f"{filename.rpartition('.')[0]}.safetensors", filename)
    try:
        weights = _hub_file(repo, filenames, fetch)
    except hub.HubUnavailable as reason:
        arch = model if architecture is known or known.get("quick_gelu") else f"{model}-quickgelu"
        raise InputError(
            f"no weights for teacher {name}: looked for {' or '.join(filenames)} of {repo}: {reason}",
            alternatives(as_a_file(repo, arch, settled)),
        ) from reason
    return TeacherFiles(
        id=f"{model}/{tag}",
        weights=weights,
        architecture=architecture,
        preprocess=settled,
        licence=licence_of(repo, tag),
        mean_feature=None,
        source=model,
        tokenizer=model,
        tokenizer_repo=_tokenizer_repo(architecture),
    )


def _from_hub(repo: str, given: dict[str, Any] | None, fetch: bool) -> TeacherFiles:
    try:
        config = _hub_file(repo, (CONFIG_FILE,), fetch)
        _hub_file(repo, HUB_WEIGHT_FILES, fetch)
    except hub.HubUnavailable as reason:
        raise InputError(
            f"no weights for teacher hf-hub:{repo}: looked for {CONFIG_FILE} and {' or '.join(HUB_WEIGHT_FILES)}: "
            f"{reason}",
            alternatives("fetch them elsewhere into one folder and give --teacher local-dir:FOLDER"),
        ) from reason
    architecture, shipped = read_config(config)
    weights = weights_in(config.parent)
    if weights is None:
        raise InputError(
            f"the cached weights of hf-hub:{repo} belong to another revision than {config}",
            "delete the older revision from the hub's cache, or fetch both again",
        )
    source = f"local-dir:{config.parent}"
    return TeacherFiles(
        id=f"hf-hub:{repo}",
        weights=weights,
        architecture=architecture,
        preprocess=settle_preprocess(given or shipped, architecture, f"hf-hub:{repo}"),
        licence=licence_of(repo),
        mean_feature=None,
        source=source,
        tokenizer=source,
        tokenizer_repo=_tokenizer_repo(architecture),
    )


def _from_folder(folder: Path, given: dict[str, Any] | None) -> TeacherFiles:
    config = folder / CONFIG_FILE
    if not config.is_file():
        raise InputError(
            f"no teacher in {folder}: {CONFIG_FILE} is not there"
            + ("" if folder.is_dir() else " (and neither is the folder)"),
            alternatives(),
        )
    architecture, shipped = read_config(config)
    weights = weights_in(folder)
    if weights is None:
        there = ", ".join(sorted(path.name for path in folder.iterdir()))
        raise InputError(
            f"no weights for teacher local-dir:{folder}: looked for {', '.join(WEIGHT_FILES)}; it holds {there}",
            alternatives(f"put the weights there as {WEIGHT_FILES[0]}"),
        )
    return TeacherFiles(
        id=f"local-dir:{folder.resolve().name}",
        weights=weights,
        architecture=architecture,
        preprocess=settle_preprocess(given or shipped, architecture, str(config)),
        licence=licence_in_card(folder / "README.md"),
        mean_feature=read_mean_feature(folder / MEAN_FEATURE_FILE, architecture["embed_dim"]),
        source=f"local-dir:{folder}",
        tokenizer=f"local-dir:{folder}",
        tokenizer_repo=None,  # open_clip reads every tokeniser of a folder from that folder
    )


def _from_checkpoint(path: Path, arch: str | None, given: dict[str, Any] | None) -> TeacherFiles:
    import open_clip

    if not path.is_file():
        raise InputError(f"no weights for the teacher: {path} is not there", alternatives("correct the path"))
    if arch is None or given is None:
        missing = [flag for flag, value in (("--teacher-arch", arch), ("--teacher-preprocess", given)) if value is None]
        raise InputError(
            f"the teacher {path} is a checkpoint file, and {' and '.join(missing)} did not come with it",
            "give --teacher-arch (an open_clip model name, such as ViT-B-16) and --teacher-preprocess (a JSON file "
            "with mean, std, interpolation and resize_mode): a guess here would be silently wrong",
        )
    architecture = open_clip.get_model_config(arch)
    if architecture is None:
        near = difflib.get_close_matches(arch, open_clip.list_models(), n=3, cutoff=0.5)
        raise InputError(
            f"--teacher-arch {arch} is not an architecture that open_clip knows",
            f"did you mean {' or '.join(near)}?" if near else "python -c 'import open_clip; open_clip.list_models()'",
        )
    return TeacherFiles(
        id=f"file:{path.name}:{arch}",
        weights=path,
        architecture=architecture,
        preprocess=settle_preprocess(given, architecture, "--teacher-preprocess"),
        licence=UNKNOWN_LICENCE,
        mean_feature=read_mean_feature(path.parent / MEAN_FEATURE_FILE, architecture["embed_dim"]),
        source=arch,
        tokenizer=arch,
        tokenizer_repo=_tokenizer_repo(architecture),
    )


def _tokenizer_repo(architecture: dict[str, Any]) -> str | None:
    return architecture.get("text_cfg", {}).get("hf_tokenizer_name") or None


def weights_in(folder: Path) -> Path | None:
    """The weights file that open_clip loads from a model folder."""
    return next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)


def _hub_file(repo: str, filenames: Sequence[str], fetch: bool) -> Path:
    if fetch:
        return hub.fetch(repo, filenames)
    cached = hub.cached_file(repo, filenames)
    if cached is None:
        raise hub.HubUnavailable("not in the local cache")
    return cached


def no_such_teacher(name: str, model: str, tag: str, model_known: bool) -> InputError:
    import open_clip

    if model_known:
        tags = open_clip.list_pretrained_tags_by_model(model)
        return InputError(
            f"{name}: open_clip has no weights {tag!r} for {model}",
            f"it has: {', '.join(tags)}" if tags else f"it has none for {model}: {alternatives()}",
        )
    known = [f"{model}/{tag}" for model, tag in open_clip.list_pretrained()]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return InputError(
        f"{name!r} is no teacher: neither MODEL/PRETRAINED of open_clip, nor hf-hub:ID, nor a folder, nor a file",
        f"did you mean {' or '.join(near)}?" if near else alternatives(),
    )


def alternatives(bring: str = "give --teacher local-dir:FOLDER") -> str:
    """The second line of a missing-weights error: what this machine has, then how to bring weights to it."""
    here = [f"--teacher {shlex.quote(name)}" for name in (*_cached_teachers(), *_folders_nearby())]
    return f"available here: {', '.join(here[:6])}; or {bring}" if here else f"no other teacher is here; {bring}"


def as_a_file(repo: str, arch: str, preprocess: dict[str, Any]) -> str:
    """How to use a table entry's weights on a machine that cannot fetch them."""
    stated = json.dumps({key: preprocess[key] for key in PREPROCESS_KEYS})
    return (
        f"fetch it elsewhere from https://huggingface.co/{repo} and give --teacher FILE --teacher-arch {arch} "
        f"--teacher-preprocess JSON, a file with {stated}"
    )


def _cached_teachers() -> list[str]:
    """Names of the teachers whose weights the hub's cache holds."""
    import open_clip

    by_repo: dict[str, str] = {}
    for model, tag in open_clip.list_pretrained():
        repo = open_clip.get_pretrained_cfg(model, tag).get("hf_hub", "").rpartition("/")[0]
        by_repo.setdefault(repo, f"{model}/{tag}")
    names = []
    for repo, files in hub.cached_repos():
        if not files.intersection(HUB_WEIGHT_FILES):
            continue
        if repo in by_repo:
            names.append(by_repo[repo])
        elif CONFIG_FILE in files:
            names.append(f"hf-hub:{repo}")
    return names


def _folders_nearby(limit: int = 500) -> list[str]:
    """local-dir: names of teachers at most two folders below the working directory; looks at `limit` folders."""
    found = []
    waiting = [(Path(), 0)]
    for _ in range(limit):
        if not waiting:
            break
        folder, depth = waiting.pop(0)
        try:
            children = sorted(folder.iterdir())
        except OSError:
            continue
        if any(path.name == CONFIG_FILE for path in children) and any(path.name in WEIGHT_FILES for path in children):
            found.append(f"local-dir:{folder}")
        if depth < 2:
            below = (path for path in children if path.is_dir() and not path.name.startswith("."))
            waiting.extend((path, depth + 1) for path in below)
    return found


def read_json_object(path: Path, what: str) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{what} {path} cannot be read: {error}", "it must be a JSON file") from error
    if not isinstance(value, dict):
        raise InputError(f"{what} {path} holds {type(value).__name__}, not an object", 'write {"mean": [...], ...}')
    return value


def read_config(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(model_cfg, preprocess_cfg) of an open_clip_config.json."""
    config = read_json_object(path, "the teacher's configuration")
    model, preprocess = config.get("model_cfg"), config.get("preprocess_cfg", {})
    if not isinstance(model, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= model.keys():
        raise InputError(
            f"{path} has no complete model_cfg (embed_dim, vision_cfg, text_cfg)",
            "use a model folder as open_clip writes it (its push_to_hf_hub, or a download from the hub)",
        )
    if not isinstance(preprocess, dict):
        raise InputError(
            f"{path}: preprocess_cfg is not an object", "write mean, std, interpolation, resize_mode there"
        )
    return model, preprocess


def read_preprocess(path: Path) -> dict[str, Any]:
    """--teacher-preprocess: an object with the four values, or an open_clip_config.json that has them."""
    given = read_json_object(path, "--teacher-preprocess")
    given = given.get("preprocess_cfg", given)
    missing = [key for key in PREPROCESS_KEYS if key not in given]
    if missing:
        raise InputError(
            f"--teacher-preprocess {path} does not say {', '.join(missing)}",
            "for OpenAI's and most of open_clip's weights: {\"mean\": [0.48145466, 0.4578275, 0.40821073], "
            '"std": [0.26862954, 0.26130258, 0.27577711], "interpolation": "bicubic", "resize_mode": "shortest"}',
        )
    return given


def settle_preprocess(config: dict[str, Any], architecture: dict[str, Any], source: str) -> dict[str, Any]:
    """Every value explicit. Folders on the hub often give mean and std alone: the rest is open_clip's convention.

    mean and std have no such convention (open_clip would quietly take OpenAI's): without them we stop.
    """
    size = architecture["vision_cfg"].get("image_size", 224)
    settled = {
        "size": size[0] if isinstance(size, (list, tuple)) and len(set(size)) == 1 else size,
        "mean": _three_numbers(config.get("mean"), "mean", source),
        "std": _three_numbers(config.get("std"), "std", source),
        "interpolation": config.get("interpolation", "bicubic"),
        "resize_mode": config.get("resize_mode", "shortest"),
        "fill_color": config.get("fill_color", 0),
    }
    if settled["interpolation"] == "random":  # a training setting; open_clip reads it as bicubic everywhere else
        settled["interpolation"] = "bicubic"
    remedy = "correct it there, or give --teacher-preprocess"
    if not isinstance(settled["size"], int):
        raise InputError(f"{source}: the image size {size} is not square", "choose a teacher with square input")
    if settled["interpolation"] not in _INTERPOLATIONS:
        raise InputError(f"{source}: interpolation is {settled['interpolation']!r}, not {_INTERPOLATIONS}", remedy)
    if settled["resize_mode"] not in _RESIZE_MODES:
        raise InputError(f"{source}: resize_mode is {settled['resize_mode']!r}, not one of {_RESIZE_MODES}", remedy)
    if not all(value > 0 for value in settled["std"]):
        raise InputError(f"{source}: std is {settled['std']}, and must be above 0", remedy)
    return settled


def _three_numbers(value: Any, key: str, source: str) -> list[float]:
    numbers = [value] * 3 if isinstance(value, (int, float)) else list(value) if isinstance(value, Iterable) else []
    if len(numbers) != 3 or not all(isinstance(x, (int, float)) and math.isfinite(x) for x in numbers):
        raise InputError(
            f"{source} does not say how images are normalised: preprocess_cfg.{key} is {value!r}, not three numbers",
            "write it there, or give --teacher-preprocess JSON (mean, std, interpolation, resize_mode)",
        )
    return [float(x) for x in numbers]


def read_mean_feature(path: Path, dim: int) -> np.ndarray | None:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        return None
    try:
        feature = load_file(path).get(MEAN_FEATURE_TENSOR)
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} cannot be read: {error}", "write it again, or delete it") from error
    if feature is None or feature.shape != (dim,) or not np.isfinite(feature).all():
        found = "no such tensor" if feature is None else f"shape {feature.shape}, finite: {np.isfinite(feature).all()}"
        raise InputError(
            f"{path}: {MEAN_FEATURE_TENSOR} must be {dim} finite numbers ({found})", "write it again, or delete it"
        )
    return feature.astype(np.float32)


def licence_of(repo: str, tag: str = "") -> str:
    for prefix, licence in TAG_LICENCES:
        if tag.startswith(prefix):
            return licence
    for prefix, licence in LICENCES:
        if repo.startswith(prefix):
            return licence
    return f"{UNKNOWN_LICENCE}, https://huggingface.co/{repo}" if repo else UNKNOWN_LICENCE


def licence_in_card(card: Path) -> str:
    """The `license:` line in the front matter of a model card, the hub's own convention."""
    if not card.is_file():
        return UNKNOWN_LICENCE
    lines = card.read_text(encoding="utf-8", errors="replace").splitlines()
    if not lines or lines[0].strip() != "---":
        return UNKNOWN_LICENCE
    for line in lines[1:]:
        if line.strip() == "---":
            break
        key, _, value = line.partition(":")
        if key.strip() == "license" and value.strip():
            return value.strip().strip("\"'")
    return UNKNOWN_LICENCE


def _build(files: TeacherFiles) -> tuple[Any, Any]:
    """(open_clip model with the found weights in float32, its tokeniser); never a random model."""
    import open_clip
    import torch
    from safetensors import SafetensorError

    tokenizer = load_tokenizer(files)  # first: it is small, and may have to be fetched
    try:
        model = open_clip.create_model(
            files.source,
            # A folder brings its own weights; a name is given the file, so that no request is made for it.
            pretrained=None if files.source.startswith("local-dir:") else str(files.weights),
            force_quick_gelu=bool(files.architecture.get("quick_gelu", False)),
            force_preprocess_cfg=files.preprocess,
            require_pretrained=True,
        )
    except (RuntimeError, ValueError, KeyError, OSError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"the weights of teacher {files.id} do not load: {files.weights}: {first}",
            "the file is damaged or belongs to another architecture: fetch it again, or correct --teacher-arch",
        ) from error
    except ImportError as error:
        raise InputError(
            f"teacher {files.id} needs a package that is not installed: {error}", "pip install transformers"
        ) from error
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise InputError(
                f"the weights of teacher {files.id} hold values that are not finite: {name} in {files.weights}",
                "fetch the file again or use other weights",
            )
    return model, tokenizer


def load_tokenizer(files: TeacherFiles) -> Any:
    """open_clip's tokeniser for this teacher. One of transformers' is read from a folder, so that it asks nobody."""
    import open_clip
    from open_clip.tokenizer import DEFAULT_CONTEXT_LENGTH, HFTokenizer

    try:
        if files.tokenizer_repo is None:
            return open_clip.get_tokenizer(files.tokenizer)
        text = files.architecture["text_cfg"]
        return HFTokenizer(
            str(_tokenizer_folder(files.tokenizer_repo)),
            context_length=text.get("context_length", DEFAULT_CONTEXT_LENGTH),
            tokenizer_mode=text.get("tokenizer_mode"),
            **text.get("tokenizer_kwargs", {}),
        )
    except hub.HubUnavailable as reason:
        raise InputError(
            f"no tokeniser for teacher {files.id}: looked for {' or '.join(VOCABULARIES)} of {files.tokenizer_repo}: "
            f"{reason}",
            alternatives(
                f"put the files of https://huggingface.co/{files.tokenizer_repo} into one folder with the teacher's "
                "and give --teacher local-dir:FOLDER"
            ),
        ) from reason
    except (OSError, ValueError, ImportError, RuntimeError) as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(
            f"the tokeniser of teacher {files.id} does not load: {first}",
            "pip install transformers, and make its tokeniser files available, or choose a teacher with CLIP's own",
        ) from error


def _tokenizer_folder(repo: str) -> Path:
    """The folder of the hub's cache with the files of a tokeniser, fetched if need be. Raises hub.HubUnavailable.

    The vocabulary comes last, so that where it is, the settings are.
    """
    vocabulary = hub.cached_file(repo, VOCABULARIES)
    if vocabulary is not None:
        return vocabulary.parent
    settings = []
    for name in TOKENIZER_SETTINGS:
        with contextlib.suppress(hub.NotOnHub):
            settings.append(hub.fetch(repo, (name,)))
    folder = hub.fetch(repo, VOCABULARIES).parent
    if any(path.parent != folder for path in settings):
        raise hub.HubUnavailable("its cached files belong to several revisions: delete them from the hub's cache")
    return folder


def geometric_part(preprocess: dict[str, Any]) -> Any:
    """open_clip's own evaluation transform up to the pixels: resize and crop, without conversion and normalisation."""
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from torchvision.transforms import Compose

    steps = image_transform_v2(PreprocessCfg(**preprocess), is_train=False).transforms
    return Compose(steps[:-3])  # the last three: to RGB, to tensor, normalise


def _first(output: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """The pooled feature of a tower: most return it alone, CoCa's a tuple that starts with it."""
    return output[0] if isinstance(output, tuple) else output
