"""student.json: what stands beside student.safetensors, so that the two files are a student on their own.

They are what a training leaves, what a bundle carries and what --student-weights takes. This file reads and describes
the card; the weights are the concern of student_files.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from .. import records
from ..errors import InputError
from ..targets import outside
from ..targets.printable import line
from ..targets.student_network import why_not

FORMAT = 1
WEIGHTS, CARD = "student.safetensors", "student.json"
PROMPTED = "vit-b16-prompted"
"""The student that is not timm's (prompted_tower.py). Its tower may be another one: its kwargs say which."""
_SMALLEST, _LARGEST = 1e-6, 1_000_000  # of a mean or a spread of pixels
_WIDEST = 65536  # of a layer, and of an image
_REMEDY = "Take the folder as edgedistill wrote it."


@dataclass(frozen=True, kw_only=True)
class Pixels:
    """How the student wants its images: mean and std of values in 0..1; `size` is what it was trained at."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The projector's layers: one Linear to `dim` (depth 1), or two with `hidden` features between them."""

    depth: Literal[1, 2]
    hidden: int
    dim: int


@dataclass(frozen=True, kw_only=True)
class MadeFor:
    """The teacher whose space the projector leads into."""

    hash: str
    id: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """student.json. `name` and `kwargs` are timm's, as far as targets/student_network.py lets them, or the prompted
    student's; `licence` is of these weights, as whoever made them states it."""

    name: str
    preprocessing: Pixels
    kwargs: dict[str, Any] = field(default_factory=dict)
    projector: Layout | None = None
    teacher: MadeFor | None = None
    licence: str | None = None
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        return {key: value for key, value in records.plain(self).items() if value is not None or key != "licence"}

    def fits(self, dim: int, teacher_hash: str) -> bool:
        """Whether its projector leads into the space of this very teacher."""
        made_for = self.teacher
        return self.projector is not None and self.projector.dim == dim and made_for is not None and (
            made_for.hash == teacher_hash
        )  # fmt: skip


def read_card(folder: Path) -> Card:
    """student.json, checked. Raises InputError naming what is missing or wrong; keys of others are passed over."""
    path = folder / CARD
    try:
        table = outside.read_object(path)
    except FileNotFoundError as error:
        raise InputError(
            f"no {CARD} in {folder}", f"--student-weights takes a folder with {WEIGHTS} and {CARD}, as a bundle has."
        ) from error
    except (OSError, outside.Unfit) as error:
        raise InputError(f"{path} cannot be read: {error}", _REMEDY) from error
    if table.get("format") != FORMAT:
        raise InputError(f"{path}: not a student card of format {FORMAT}", _REMEDY)
    known = {one.name for one in fields(Card)}
    card = records.read(Card, {key: value for key, value in table.items() if key in known}, str(path))
    problem = _problem(card)
    if problem:
        raise InputError(f"{path}: {problem}", _REMEDY)
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"no {WEIGHTS} beside {path}", _REMEDY)
    return card


def _problem(card: Card) -> str | None:
    """What no type can say. The kwargs of the prompted student are checked where it is built."""
    problem = None if card.name == PROMPTED else why_not(card.name, card.kwargs)
    if problem:
        return line(problem, records.LONGEST)
    pixels = card.preprocessing
    if not all(_SMALLEST <= value <= _LARGEST for value in pixels.std):
        return f"preprocessing.std must be three numbers above 0, from {_SMALLEST} to {_LARGEST:,}"
    if not all(abs(value) <= _LARGEST for value in pixels.mean):
        return f"preprocessing.mean must be three numbers of at most {_LARGEST:,}"
    if pixels.size is not None and not 0 < pixels.size <= _WIDEST:
        return f"preprocessing.size must be a whole number from 1 to {_WIDEST}"
    layout = card.projector
    if layout is not None:
        if not all(0 < width <= _WIDEST for width in (layout.hidden, layout.dim)):
            return f"projector.hidden and projector.dim must be whole numbers from 1 to {_WIDEST}"
        if card.teacher is None:
            return "teacher.hash is missing, so its projector has no meaning"
    return None
