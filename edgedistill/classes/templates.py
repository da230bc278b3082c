"""Prompt templates: three sets of ours and of CLIP's, or a text file."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from pathlib import Path

from ..choices import TEMPLATE_SETS
from ..errors import InputError
from ..targets.outside import SMALL, Unfit, read_bytes
from ..teacher.torchvision_ops import ensure_torchvision
from ..text_file import decoded

# Plain photographs, close and far, good and bad: what a camera on a device sees. Ours.
_GENERAL = (
    "{}",
    "a photo of a {}.",
    "a photo of the {}.",
    "a close-up photo of a {}.",
    "a photo of a {} seen from a distance.",
    "a photo of a {} among other things.",
    "a cropped photo of a {}.",
    "a dark, blurry photo of a {}.",
    "a bright photo of a {} on a plain background.",
    "a snapshot taken by a camera, showing a {}.",
)
# The eighteen of CLIP's CIFAR evaluation (github.com/openai/CLIP, data/prompts.md): nine looks, each with two articles.
_CIFAR_LOOKS = (
    "photo of {article} {{}}",
    "blurry photo of {article} {{}}",
    "black and white photo of {article} {{}}",
    "low contrast photo of {article} {{}}",
    "high contrast photo of {article} {{}}",
    "bad photo of {article} {{}}",
    "good photo of {article} {{}}",
    "photo of {article} small {{}}",
    "photo of {article} big {{}}",
)


@dataclass(frozen=True)
class Templates:
    """A named set of prompt templates, each with one `{}`."""

    name: str
    templates: tuple[str, ...]


def template_set(name: str | Path) -> Templates:
    """The templates named `general`, `imagenet` (CLIP's 80) or `cifar` (CLIP's 18), or those of a text file.

    A file has one template a line with exactly one `{}`; `#` begins a comment line. Raises InputError by line number.
    """
    if str(name) == "general":
        return Templates("general", _GENERAL)
    if str(name) == "cifar":
        return Templates(
            "cifar", tuple(f"a {look.format(article=article)}." for article in ("a", "the") for look in _CIFAR_LOOKS)
        )
    if str(name) == "imagenet":
        ensure_torchvision()
        import open_clip

        return Templates("imagenet", tuple(template("{}") for template in open_clip.OPENAI_IMAGENET_TEMPLATES))
    return _templates_from_file(Path(name))


def _templates_from_file(path: Path) -> Templates:
    if not path.is_file():
        near = difflib.get_close_matches(str(path), TEMPLATE_SETS, n=1)
        raise InputError(
            f"prompt templates {str(path)!r}: no set of that name, and no such file",
            f"Did you mean {near[0]}?" if near else f"Choose {', '.join(TEMPLATE_SETS)}, or a text file of templates.",
        )
    try:
        text = decoded(read_bytes(path, SMALL.size), path)
    except (OSError, Unfit) as error:
        raise InputError(f"the templates {path} cannot be read: {error}", "Give a text file in UTF-8.") from error
    found: dict[str, int] = {}
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        template = line.strip()
        if not template or template.startswith("#"):
            continue
        if template.count("{}") != 1:
            raise InputError(
                f"{path}, line {number}: {template!r} has {template.count('{}')} places for the name",
                "Write exactly one {} in each template, such as: a photo of a {}.",
            )
        if template in found:
            raise InputError(f"{path}, line {number}: the same as line {found[template]}", "Delete one of them.")
        found[template] = number
    if not found:
        raise InputError(f"the templates {path} are empty", "Write one template a line, such as: a photo of a {}.")
    return Templates(path.name, tuple(found))
