"""How an int8 graph was made: written into the manifest by the export, told by the verdict; loads no onnx."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Int8Facts:
    """How an int8 graph was made. `floating`: layers that stay in float, by their weights' names. `tried`: calibration
    method -> agreement with fp32 on the `judged` photos. `fine_tuned`: in words, what was trained; "" is nothing."""

    dialect: str
    calibration: str
    photos: int
    seed: int
    judged: int
    agreement: float
    tried: dict[str, float]
    layers: int
    floating: tuple[str, ...] = ()
    fine_tuned: str = ""
