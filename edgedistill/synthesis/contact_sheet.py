"""contact_sheet.jpg: images that were made, for a person to look at: a row a class, with its name.

Few classes get large pictures. Many get smaller ones, in blocks of rows side by side, so that the sheet keeps about the
shape of a screen and 300 classes can still be read.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..work import atomic

COLUMNS = 12  # pictures of a class, at most
MAX_CLASSES = 300  # further ones are counted in a last line
_GROUND, _INK = (24, 24, 24), (235, 235, 235)
_GAP = 4
_TALLEST = 2400  # pixels a block; the rows of more classes go into another beside it


@dataclass(frozen=True)
class _Layout:
    picture: int
    columns: int
    label: int
    font: int
    rows: int
    """A block's."""
    blocks: int

    @classmethod
    def of(cls, classes: int, columns: int) -> _Layout:
        picture, shown = (96, 12) if classes <= 24 else (72, 10) if classes <= 80 else (56, 6)
        rows = min(classes, max(1, _TALLEST // (picture + _GAP)))
        blocks = math.ceil(classes / rows)
        font = 16 if picture > 60 else 13
        return cls(picture, min(columns, shown), 11 * font, font, math.ceil(classes / blocks), blocks)

    @property
    def block_width(self) -> int:
        return self.label + self.columns * (self.picture + _GAP) + 3 * _GAP

    @property
    def size(self) -> tuple[int, int]:
        return self.blocks * self.block_width, self.rows * (self.picture + _GAP) + _GAP

    def corner(self, row: int) -> tuple[int, int]:
        """Left and top of a class's row."""
        block, within = divmod(row, self.rows)
        return block * self.block_width + _GAP, within * (self.picture + _GAP) + _GAP


def write_contact_sheet(path: Path, names: Sequence[str], images: Sequence[Sequence[np.ndarray]]) -> None:
    """Writes a JPEG of the first images of each class, whole or not at all; same images, same bytes.

    names   C classes
    images  for each a sequence of uint8 [h,w,3] RGB images, which may be empty: the row then says so

    Raises ValueError where there are not as many sequences as names, or none.
    """
    if len(names) != len(images) or not names:
        raise ValueError(f"{len(names)} names and images of {len(images)} classes")
    shown = min(len(names), MAX_CLASSES)
    layout = _Layout.of(shown, min(COLUMNS, max(1, *(len(of_class) for of_class in images[:shown]))))
    sheet = _sheet(layout, names[:shown], images[:shown])
    if len(names) > shown:
        sheet = _with_note(sheet, f"and {len(names) - shown} more classes", layout.font)
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=88)
    atomic.write_bytes(path, file.getvalue())


def _sheet(layout: _Layout, names: Sequence[str], images: Sequence[Sequence[np.ndarray]]) -> Image.Image:
    sheet = Image.new("RGB", layout.size, _GROUND)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(layout.font)
    for row, (name, of_class) in enumerate(zip(names, images)):
        left, top = layout.corner(row)
        words = "\n".join(_lines(name, font, layout.label - 2 * _GAP, (layout.picture - 2) // (layout.font + 2)))
        draw.multiline_text((left, top + layout.picture // 2), words, _INK, font, anchor="lm", spacing=2)
        if not of_class:
            draw.text((left + layout.label, top + layout.picture // 2), "no image", (150, 150, 150), font, anchor="lm")
        for column, pixels in enumerate(of_class[: layout.columns]):
            picture = Image.fromarray(pixels).resize((layout.picture, layout.picture), Image.Resampling.LANCZOS)
            sheet.paste(picture, (left + layout.label + column * (layout.picture + _GAP), top))
    return sheet


def _lines(name: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, most: int) -> list[str]:
    """The name in lines no wider than `width` pixels, at most `most` of them; what does not fit ends in three dots."""
    lines = [""]
    for word in name.replace("_", " ").split():
        longer = f"{lines[-1]} {word}".strip()
        if not lines[-1] or font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > most:
        lines = [*lines[: most - 1], f"{lines[most - 1]} ..."]
    return [_shortened(line, font, width) for line in lines]


def _shortened(line: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    if font.getlength(line) <= width:
        return line
    while line and font.getlength(f"{line}...") > width:
        line = line[:-1]
    return f"{line}..."


def _with_note(sheet: Image.Image, note: str, font: int) -> Image.Image:
    longer = Image.new("RGB", (sheet.width, sheet.height + 2 * font), _GROUND)
    longer.paste(sheet)
    ImageDraw.Draw(longer).text((_GAP, sheet.height), note, _INK, ImageFont.load_default(font))
    return longer
