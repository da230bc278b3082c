"""Small photos for tests: a disc or three bars in one colour on a noisy ground, whose names a tiny teacher knows.

names: "red disc", "green bars", ...        make_photo("red disc", seed) -> PIL image
write_photos(folder, count, seed)             a flat, unlabelled pool
write_check(folder, count, seed)              the same in class folders
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {"red": (205, 45, 40), "green": (50, 160, 60), "blue": (45, 75, 200), "yellow": (225, 200, 45)}
SHAPES = ("disc", "bars")
CLASSES = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
FOUR_CLASSES = ("red disc", "green bars", "blue disc", "yellow bars")


def make_photo(name: str, seed: int, *, size: tuple[int, int] = (72, 56)) -> Image.Image:
    """An RGB image of `size` (width, height) showing the class `name`; a pure function of its arguments."""
    colour, shape = name.split()
    random = np.random.default_rng([seed, CLASSES.index(name)])
    width, height = size
    ground = random.integers(90, 200) + random.normal(0, 12, (height, width, 3))
    image = Image.fromarray(ground.clip(0, 255).astype(np.uint8))
    tint = tuple(int(v) for v in np.clip(np.array(COLOURS[colour]) + random.normal(0, 14, 3), 0, 255))
    draw = ImageDraw.Draw(image)
    if shape == "disc":
        side = min(size) * random.uniform(0.5, 0.8)
        left, top = random.uniform(0, width - side), random.uniform(0, height - side)
        draw.ellipse((left, top, left + side, top + side), fill=tint)
    else:
        pitch = min(size) * random.uniform(0.24, 0.3)
        left = (width - 2.5 * pitch) / 2 + random.uniform(-0.2, 0.2) * pitch
        for bar in range(3):
            draw.rectangle((left + bar * pitch, 0, left + (bar + 0.45) * pitch, height), fill=tint)
    return image


def write_photos(
    folder: Path, count: int, seed: int = 0, *, classes: Sequence[str] = CLASSES, suffix: str = ".jpg"
) -> Path:
    """`count` photos with names that give nothing away, the classes in turn; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        make_photo(classes[index % len(classes)], 1000 * seed + index).save(folder / f"{index:05d}{suffix}", quality=90)
    return folder


def write_check(
    folder: Path, count: int, seed: int = 1, *, classes: Sequence[str] = CLASSES, suffix: str = ".jpg"
) -> Path:
    """`count` photos in one folder a class (spaces as underscores); other seeds, other photos; returns the folder."""
    for index in range(count):
        name = classes[index % len(classes)]
        place = folder / name.replace(" ", "_")
        place.mkdir(parents=True, exist_ok=True)
        make_photo(name, 1000 * seed + index).save(place / f"{index:05d}{suffix}", quality=90)
    return folder
