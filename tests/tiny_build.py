"""A whole build in seconds: the tiny teacher, generated photos, a profile whose measuring takes a blink.

settings(folder, teacher, **changed)   BuildSettings for photos and check images written into `folder`
flags(folder, teacher, **changed)      the same as words of a command line
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from tiny_images import CLASSES, write_check, write_photos

from edgedistill import profiles
from edgedistill.settings import BuildSettings

PHOTOS, CHECKS = 160, 96
STUDENT = "test_resnet"  # timm's smallest: exporting a network takes longer than all its training here


def write_profile(path: Path, name: str = "cpu", **changed: str) -> Path:
    """A copy of the profile `name` that measures fp32 alone, 0.1 s and 120 queries; `changed` replaces further values
    by key."""
    text = (Path(profiles.__file__).parent / f"{name}.toml").read_text()
    quick = {"warmup_s": "0.0", "min_s": "0.1", "min_queries": "120", "input_size": "32", "precisions": '["fp32"]'}
    for key, value in {**quick, **changed}.items():
        text, times = re.subn(rf"(?m)^{key} = .*$", f"{key} = {value}", text)
        assert times == 1, f"{key} stands {times} times in {name}.toml"
    path.write_text(text.replace(f'name = "{name}"', f'name = "{path.stem}"'))
    return path


def write_inputs(folder: Path) -> Path:
    """labels.txt, photos/, check/ and quick.toml in `folder`; returns it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.txt").write_text("\n".join(CLASSES) + "\n")
    write_photos(folder / "photos", PHOTOS)
    write_check(folder / "check", CHECKS)
    write_profile(folder / "quick.toml")
    return folder


def settings(folder: Path, teacher: Path, /, **changed: Any) -> BuildSettings:
    return BuildSettings(**_values(folder, teacher) | changed)


def flags(folder: Path, teacher: Path, /, **changed: Any) -> list[str]:
    values = _values(folder, teacher) | changed
    return [str(word) for name, value in values.items() for word in (f"--{name.replace('_', '-')}", value)]


def _values(folder: Path, teacher: Path) -> dict[str, Any]:
    return {
        "profile": str(folder / "quick.toml"),
        "classes": folder / "labels.txt",
        "images": folder / "photos",
        "check": folder / "check",
        "teacher": f"local-dir:{teacher}",
        "teacher_dtype": "float32",
        "student": STUDENT,
        "student_weights": "none",
        "student_dtype": "float32",
        "views": 3,
        "epochs": 2,
        "threads": 1,
        "work": folder / "work",
        "out": folder / "bundle",
    }
