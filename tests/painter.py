"""An engine that costs nothing, and prompts for it, for tests of what is around them."""

from __future__ import annotations

import numpy as np
from tiny_images import FOUR_CLASSES, make_photo

from edgedistill.labels import Label, Labels
from edgedistill.synthesis.engine import Source
from edgedistill.synthesis.pace import Stepped, untold
from edgedistill.synthesis.prompts import Prompts
from edgedistill.synthesis.stages import Making

LABELS = Labels(tuple(Label(name) for name in FOUR_CLASSES))


def made_of_words(per_class: int, dim: int = 32) -> Prompts:
    """Prompts that name the classes of tiny_images, in turn."""
    classes = np.tile(np.arange(len(LABELS)), per_class)
    return Prompts(
        texts=tuple(f"a photo of a {LABELS.names[of]}" for of in classes),
        classes=classes,
        targets=np.eye(dim, dtype=np.float32)[classes],
        shares=np.eye(len(LABELS), dtype=np.float32)[classes],
        style=("",) * len(classes),
        has_words=True,
    )


class Painter:
    """An engine that draws what it is asked for: the photos of tiny_images. `asked`: every row it was asked for."""

    name = "painter"
    batch = 5

    def __init__(self, fails_after: int | None = None, steps: int = 0) -> None:
        self.asked: list[int] = []
        self.steps = steps
        self.fails_after = fails_after

    def images(self, prompts: Prompts, rows: np.ndarray, seed: int, stepped: Stepped = untold) -> np.ndarray:
        if self.fails_after is not None and len(self.asked) >= self.fails_after:
            raise KeyboardInterrupt
        self.asked += rows.tolist()
        for step in range(self.steps):
            stepped(step + 1, self.steps)
        return np.stack([self.paint(LABELS.names[prompts.classes[row]], 1000 * seed + row) for row in rows])

    def paint(self, name: str, seed: int, stepped: Stepped = untold) -> np.ndarray:
        return np.asarray(make_photo(name, seed, size=(40, 40)))


def making(painter: Painter, per_class: int = 6, seed: int = 0) -> Making:
    prompts = made_of_words(per_class)
    source = Source({"engine": "painter"}, {"engine": "painter", "licence": "none needed"}, lambda: painter)
    return Making(LABELS, prompts, np.arange(len(prompts.texts)), source, seed)
