"""What the commands of run.py have in common: the bundle, how long to measure, and words that several of them say."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from . import machine
from .length import Loop, loop_of
from .manifest import Manifest


def bundle_of(options: argparse.Namespace) -> Path:
    """--bundle, else the folder this file stands in, or above it when that is where the manifest is."""
    if options.bundle is not None:
        return options.bundle
    here = Path(__file__).resolve().parent
    return here if (here / "manifest.json").is_file() else here.parent


def loop_for(manifest: Manifest, options: argparse.Namespace) -> Loop:
    """How long to measure: what the mode makes of the profile's lengths, or what tests ask for."""
    loop = loop_of(manifest.profile["measure"], options.mode)
    given = {"warmup_s": options.warmup_s, "min_s": options.min_s, "min_queries": options.min_queries}
    return replace(loop, **{key: value for key, value in given.items() if value is not None})


def identity_words(identity: machine.Identity) -> str:
    if emulated := identity.evidence.get("emulated_on"):
        return f"no board, {emulated['found']} emulates its processor: outputs can be checked here, nothing is timed"
    if identity.status == machine.MATCH:
        return "this is that board"
    if identity.status == machine.UNREADABLE:
        return (
            "cannot tell, the device tree or the GPU cannot be read; in Docker, add "
            "-v /sys/firmware:/psys/firmware:ro, or run on the host"
        )
    wrong = [f"{key} is {check['found']!r}" for key, check in identity.evidence.items() if _failed(check)]
    return f"another machine ({'; '.join(wrong)})"


def _failed(check: Any) -> bool:
    return isinstance(check, dict) and check.get("ok") is False


def milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
