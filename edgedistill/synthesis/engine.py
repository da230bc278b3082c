"""What makes images: the one interface of the three ways there are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .pace import Stepped, untold
from .prompts import Prompts


class Engine(Protocol):
    """Makes an image for each of some rows of prompts.

    `images` gives uint8 [len(rows), S, S, 3] RGB; on a CPU the same for the same prompts, rows and seed. An image that
    it has not got, such as one that a safety checker withheld, is all black. Of the steps that it takes for them it
    tells `stepped`, where it can.
    """

    name: str
    batch: int  # how many rows it likes at once

    def images(self, prompts: Prompts, rows: np.ndarray, seed: int, stepped: Stepped = untold) -> np.ndarray: ...


@dataclass(frozen=True)
class Source:
    """An engine that is opened only where images are left to make.

    identity  JSON: all that its images depend on beside prompts, rows and seed
    facts     JSON: what the record says of it, such as the licence of its weights
    open      the engine itself; raises InputError where a package or weights are missing
    """

    identity: dict[str, Any]
    facts: dict[str, Any]
    open: Callable[[], Engine]


def seed_of(seed: int, *rows: int) -> int:
    """The seed of these rows' images: 63 bits, other ones for other rows, so that no two images of a prompt are one."""
    return int(np.random.SeedSequence([seed, *rows]).generate_state(1, np.uint64)[0] >> 1)
