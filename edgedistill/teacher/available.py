"""What a person is told when a teacher is not there: near names, the teachers this machine has, how to bring one."""

from __future__ import annotations

import difflib
import json
import shlex
from pathlib import Path
from typing import Any

from ..errors import InputError
from . import hub
from .files import CONFIG_FILE, HUB_WEIGHT_FILES, WEIGHT_FILES
from .preprocessing import PREPROCESS_KEYS


def no_such_teacher(name: str, model: str, tag: str, model_known: bool) -> InputError:
    import open_clip

    if model_known:
        tags = open_clip.list_pretrained_tags_by_model(model)
        return InputError(
            f"{name}: open_clip has no weights {tag!r} for {model}",
            f"It has: {', '.join(tags)}." if tags else f"It has none at all for {model}. {alternatives()}",
        )
    known = [f"{model}/{tag}" for model, tag in open_clip.list_pretrained()]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    return InputError(
        f"{name!r} is no teacher: neither MODEL/PRETRAINED of open_clip, nor hf-hub:ID, nor a folder, nor a file",
        f"Did you mean {' or '.join(near)}?" if near else alternatives(),
    )


def alternatives(bring: str = "give --teacher local-dir:FOLDER") -> str:
    """The second line of a missing-weights error: what this machine has, then how to bring weights to it."""
    here = [f"--teacher {shlex.quote(name)}" for name in (*_cached_teachers(), *_folders_nearby())]
    return f"Use what is here ({', '.join(here[:6])}), or {bring}." if here else f"No other teacher is here: {bring}."


def as_a_file(repo: str, arch: str, preprocess: dict[str, Any]) -> str:
    """How to use a table entry's weights on a machine that cannot fetch them."""
    stated = json.dumps({key: preprocess[key] for key in PREPROCESS_KEYS})
    return (
        f"fetch it on another machine from https://huggingface.co/{repo} and give --teacher FILE --teacher-arch {arch} "
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
