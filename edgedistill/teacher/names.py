"""What a teacher may be called and which files a name stands for; no network is built. All teachers are open_clip's.

A teacher is named in one of four ways:

    MODEL/PRETRAINED     open_clip's own table: ViT-B-16/datacomp_xl_s13b_b90k
    hf-hub:ORG/NAME      an open_clip model on the hub
    local-dir:FOLDER     open_clip_config.json and a weights file (a plain FOLDER means the same)
    FILE                 a checkpoint, with its architecture and its preprocessing given beside it

`find_teacher` settles which files, which hash, which preprocessing and which licence, so that a build whose features
are stored never loads the network.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError
from . import hub
from .available import alternatives, as_a_file, no_such_teacher
from .files import (
    CONFIG_FILE,
    HUB_WEIGHT_FILES,
    MEAN_FEATURE_FILE,
    WEIGHT_FILES,
    TeacherFiles,
    read_config,
    read_mean_feature,
    weights_in,
)
from .licences import UNKNOWN_LICENCE, licence_in_card, licence_of
from .preprocessing import read_preprocess, settle_preprocess
from .torchvision_ops import ensure_torchvision

CHECKPOINT_SUFFIXES = (".safetensors", ".bin", ".pt", ".pth", ".npz")


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
    path = Path(os.path.expanduser(name))
    is_file = path.is_file() or path.suffix in CHECKPOINT_SUFFIXES
    if is_file and not name.startswith(("local-dir:", "hf-hub:")):
        return _from_checkpoint(path, arch, given)
    if arch is not None:
        raise InputError(
            f"--teacher-arch {arch} belongs to a checkpoint file, and --teacher is {name!r}",
            "Leave it out, or give the weights file as --teacher FILE.",
        )
    if name.startswith("local-dir:"):
        return _from_folder(Path(os.path.expanduser(name.removeprefix("local-dir:"))), given)
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
            alternatives("fetch them on another machine into one folder and give --teacher local-dir:FOLDER"),
        ) from reason
    architecture, shipped = read_config(config)
    weights = weights_in(config.parent)
    if weights is None:
        raise InputError(
            f"the cached weights of hf-hub:{repo} belong to another revision than {config}",
            "Delete the older revision from the hub's cache, or fetch both again.",
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
        id=f"local-dir:{_text(folder.resolve().name)}",
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
            "Give --teacher-arch (an open_clip model name, such as ViT-B-16) and --teacher-preprocess (a JSON file "
            "with mean, std, interpolation and resize_mode): a wrong guess would give wrong results without an error.",
        )
    architecture = open_clip.get_model_config(arch)
    if architecture is None:
        near = difflib.get_close_matches(arch, open_clip.list_models(), n=3, cutoff=0.5)
        raise InputError(
            f"--teacher-arch {arch} is not an architecture that open_clip knows",
            f"Did you mean {' or '.join(near)}?" if near else "In Python, open_clip.list_models() names them all.",
        )
    return TeacherFiles(
        id=f"file:{_text(path.name)}:{arch}",
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


def _hub_file(repo: str, filenames: Sequence[str], fetch: bool) -> Path:
    if fetch:
        return hub.fetch(repo, filenames)
    cached = hub.cached_file(repo, filenames)
    if cached is None:
        raise hub.HubUnavailable("not in the local cache")
    return cached


def _text(name: str) -> str:
    """A file's name as every text file can hold it: the bytes that are not UTF-8 as \\xff."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
