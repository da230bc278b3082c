"""A student on disk: student.safetensors with its weights, student.json with what they are."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ..errors import InputError
from ..targets.error_lines import last_line
from ..targets.outside import Unfit
from ..targets.safetensors_header import read_header
from ..work import atomic
from ..work.plain_path import plain_path
from .student import Student
from .student_card import CARD, WEIGHTS, Card, Layout, MadeFor, Pixels, read_card

log = logging.getLogger(__name__)


def save_student(
    folder: Path,
    student: Student,
    *,
    teacher_id: str,
    teacher_hash: str,
    size: int,
    half: bool = False,
    licence: str | None = None,
) -> None:
    """Write student.safetensors (float32, or float16 with `half`) and student.json into `folder`, each whole.

    Same weights, same bytes. Raises ValueError where float16 would overflow.
    """
    state = {name: value.detach().cpu().contiguous() for name, value in student.state_dict().items()}
    if half:
        state = {name: v.half() if v.is_floating_point() else v for name, v in state.items()}
        broken = [name for name, value in state.items() if not torch.isfinite(value).all()]
        if broken:
            raise ValueError(f"not representable in float16: {', '.join(broken)}")
    card = Card(
        name=student.name,
        kwargs=student.kwargs,
        projector=Layout(depth=student.depth, hidden=student.hidden, dim=student.dim),
        preprocessing=Pixels(mean=_rounded(student.mean), std=_rounded(student.std), size=size),
        teacher=MadeFor(id=teacher_id, hash=teacher_hash),
        licence=licence,
    )
    atomic.write_bytes(folder / WEIGHTS, save(state))
    atomic.write_json(folder / CARD, card.to_json())


def _rounded(values: Tensor) -> tuple[float, float, float]:
    red, green, blue = (round(value, 6) for value in values.tolist())
    return red, green, blue


def load_student(folder: Path, *, dim: int, teacher_hash: str, size: int) -> tuple[Student, bool]:
    """The student in `folder` as float32, and whether its projector was made for this teacher and kept.

    A projector made for another teacher (other hash or width) leads into another space: it is dropped with a warning
    and a fresh one drawn from torch's random state. Raises InputError where the files do not fit each other.
    """
    card = read_card(folder)
    kept = card.fits(dim, teacher_hash)
    if card.teacher is not None and card.projector is not None and not kept:
        made_for = card.teacher.id or card.teacher.hash[:12]
        log.warning("the projector in %s was made for another teacher (%s): a fresh one is used", folder, made_for)
    student = Student(card.name, dim, size=size, kwargs=card.kwargs, layout=card.projector if kept else None)
    student.see_as(card.preprocessing)
    try:
        read_header(folder / WEIGHTS)
        with plain_path(folder / WEIGHTS) as plain:
            state = load_file(plain)
    except (SafetensorError, OSError, Unfit) as error:
        raise InputError(f"{folder / WEIGHTS} is damaged: {error}", "Fetch or make the folder again.") from error
    if not kept:
        state = {name: value for name, value in state.items() if not name.startswith("projector.")}
        state |= {f"projector.{name}": value for name, value in student.projector.state_dict().items()}
    state = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    broken = [name for name, value in state.items() if value.is_complex() or not torch.isfinite(value).all()]
    if broken:
        raise InputError(f"{folder / WEIGHTS} holds values that are not finite: {broken[0]}", "Make the folder again.")
    try:
        student.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"{folder / WEIGHTS} is not the network of its {CARD}: {last_line(error)}",
            "Take both files from the same place.",
        ) from error
    student.pretrained = True
    return student, kept
