"""The licence of a teacher's weights, as their publisher states it."""

from __future__ import annotations

from pathlib import Path

from ..targets.outside import SMALL, Unfit, read_bytes

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
    try:
        lines = read_bytes(card, SMALL.size).decode("utf-8", "replace").splitlines()
    except (OSError, Unfit):
        return UNKNOWN_LICENCE
    if not lines or lines[0].strip() != "---":
        return UNKNOWN_LICENCE
    for line in lines[1:]:
        if line.strip() == "---":
            break
        key, _, value = line.partition(":")
        if key.strip() == "license" and value.strip():
            return value.strip().strip("\"'")
    return UNKNOWN_LICENCE
