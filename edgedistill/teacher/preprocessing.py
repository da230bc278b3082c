"""How a teacher's images are resized, cropped and normalised: every value read, checked and explicit."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..targets import outside

PREPROCESS_KEYS = ("mean", "std", "interpolation", "resize_mode")
_SMALLEST, _LARGEST = 1e-6, 1e6  # of a mean or a spread of pixels; NaN is not below it either
_INTERPOLATIONS = ("bicubic", "bilinear")
_RESIZE_MODES = ("shortest", "longest", "squash")


def read_preprocess(path: Path) -> dict[str, Any]:
    """--teacher-preprocess: an object with the four values, or an open_clip_config.json that has them."""
    given = read_json_object(path, "--teacher-preprocess")
    given = given.get("preprocess_cfg", given)
    missing = [key for key in PREPROCESS_KEYS if key not in given]
    if missing:
        raise InputError(
            f"--teacher-preprocess {path} does not say {', '.join(missing)}",
            "OpenAI's and most of open_clip's weights take {\"mean\": [0.48145466, 0.4578275, 0.40821073], "
            '"std": [0.26862954, 0.26130258, 0.27577711], "interpolation": "bicubic", "resize_mode": "shortest"}.',
        )
    return given


def settle_preprocess(config: dict[str, Any], architecture: dict[str, Any], source: str) -> dict[str, Any]:
    """Every value explicit. Folders on the hub often give mean and std alone: the rest is open_clip's convention.

    mean and std have no such convention (open_clip would take OpenAI's without a word): without them we stop.
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
    remedy = "Correct it there, or give --teacher-preprocess."
    if not isinstance(settled["size"], int):
        raise InputError(f"{source}: the image size {size} is not square", "Choose a teacher with square input.")
    if settled["interpolation"] not in _INTERPOLATIONS:
        raise InputError(f"{source}: interpolation is {settled['interpolation']!r}, not {_INTERPOLATIONS}", remedy)
    if settled["resize_mode"] not in _RESIZE_MODES:
        raise InputError(f"{source}: resize_mode is {settled['resize_mode']!r}, not one of {_RESIZE_MODES}", remedy)
    if not all(value > _SMALLEST for value in settled["std"]):
        raise InputError(f"{source}: std is {settled['std']}, and must be above 0", remedy)
    if type(settled["fill_color"]) is not int or not 0 <= settled["fill_color"] <= 255:
        raise InputError(f"{source}: fill_color is {settled['fill_color']!r}, not a whole number from 0 to 255", remedy)
    return settled


def _three_numbers(value: Any, key: str, source: str) -> list[float]:
    numbers = [value] * 3 if isinstance(value, (int, float)) else list(value) if isinstance(value, Iterable) else []
    if len(numbers) != 3 or not all(isinstance(x, (int, float)) and abs(x) < _LARGEST for x in numbers):
        raise InputError(
            f"{source} does not say how images are normalised: preprocess_cfg.{key} is {value!r}, not three numbers",
            "Write it there, or give --teacher-preprocess JSON (mean, std, interpolation, resize_mode).",
        )
    return [float(x) for x in numbers]


def read_json_object(path: Path, what: str) -> dict[str, Any]:
    try:
        value = outside.read_json(path)
    except (OSError, outside.Unfit) as error:
        raise InputError(f"{what} {path} cannot be read: {error}", "It must be a JSON file.") from error
    if not isinstance(value, dict):
        raise InputError(f"{what} {path} holds {type(value).__name__}, not an object", 'Write {"mean": [...], ...}.')
    return value
