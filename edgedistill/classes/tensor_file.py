"""The safetensors files of this room: named arrays and one JSON description; same content, same bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..targets.outside import as_object, parse_json
from ..targets.safetensors_header import read_header
from ..work import atomic
from ..work.plain_path import plain_path


def write_tensors(path: Path, tensors: dict[str, np.ndarray], description: dict[str, Any] | None = None) -> None:
    from safetensors.numpy import save

    # One metadata entry: with several, safetensors writes them in another order every time.
    metadata = None if description is None else {"json": json.dumps(description, sort_keys=True, allow_nan=False)}
    data = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, metadata)
    atomic.write_bytes(path, data)


def read_tensors(path: Path, dimensions: dict[str, int]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(the named tensors, the description) of a file of ours; every number is finite."""
    from safetensors import SafetensorError, safe_open

    try:
        header = read_header(path)
        description = as_object(parse_json(header.get("__metadata__", {}).get("json", "{}").encode()))
        with plain_path(path) as plain, safe_open(plain, framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in dimensions}
    except (SafetensorError, OSError, ValueError) as error:
        raise damaged(path, error) from error
    for name, tensor in tensors.items():
        if tensor.ndim != dimensions[name] or not np.isfinite(tensor).all():
            raise damaged(path, f"{name} has shape {tensor.shape} or values that are not finite")
    return tensors, description


def damaged(path: Path, reason: object) -> InputError:
    return InputError(f"{path} is damaged: {reason}", "Run the command again that made it.")
