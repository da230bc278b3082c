"""What a store may know of its rows beside the teacher's features: how much each counts, and what it was made to show.

Photos have none of it. Images that were made from class names have both: the class in the prompt of each, and a weight
from how far the teacher agrees. They stand in one file of the store, `row_facts.safetensors`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from ..errors import InputError
from ..targets.safetensors_header import read_header
from ..work import atomic
from ..work.plain_path import plain_path

ROW_FACTS = "row_facts.safetensors"


@dataclass(frozen=True, eq=False)
class RowFacts:
    """Of N rows: `weight` float32 [N], 0 or more (1: as any photo), and `prompt_class` int64 [N], -1 where unknown."""

    weight: np.ndarray
    prompt_class: np.ndarray

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", np.asarray(self.weight, np.float32))
        object.__setattr__(self, "prompt_class", np.asarray(self.prompt_class, np.int64))
        if self.weight.ndim != 1 or self.weight.shape != self.prompt_class.shape:
            raise ValueError(f"weights {self.weight.shape} and prompt classes {self.prompt_class.shape}: not [N] each")
        if not np.isfinite(self.weight).all() or (self.weight < 0).any():
            raise ValueError("a weight is negative or not finite")
        if (self.prompt_class < -1).any():
            raise ValueError("a prompt class is below -1")

    def save(self, folder: Path) -> None:
        """Writes row_facts.safetensors into the store's folder; same facts, same bytes."""
        atomic.write_bytes(folder / ROW_FACTS, save({"weight": self.weight, "prompt_class": self.prompt_class}))

    @classmethod
    def read(cls, folder: Path, rows: int) -> RowFacts | None:
        """What `save` wrote, or None. Raises InputError where it is damaged or is not of so many rows."""
        path = folder / ROW_FACTS
        if not path.is_file():
            return None
        try:
            read_header(path)
            with plain_path(path) as plain:
                tensors = load_file(plain)
            facts = cls(tensors["weight"], tensors["prompt_class"])
            if len(facts.weight) != rows:
                raise ValueError(f"facts of {len(facts.weight)} rows in a store of {rows}")
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise InputError(f"{path} is damaged: {error}", "Run the same command: it is made again.") from error
        return facts
