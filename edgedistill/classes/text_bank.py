"""Every prompt's vector, by one pass of the teacher's text tower: Labels + templates -> TextBank [C, P, D].

P is the number of templates and is equal for all classes: T_cp is the unit mean over a class's synonyms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..labels import Label, Labels
from ..targets import outside
from ..teacher.unit import unit
from ..work import atomic
from ..work.console import SILENT, Progress
from .templates import Templates
from .tensor_file import damaged, read_tensors, write_tensors

if TYPE_CHECKING:
    from ..teacher.tower import Teacher

_TEXTS_A_PASS = 64


@dataclass(frozen=True, eq=False)
class TextBank:
    """Every prompt as the teacher reads it. `vectors` is float32 [C, P, D] with unit rows."""

    vectors: np.ndarray
    scale: float
    """The teacher's exp(logit_scale): logits are scale · u · T."""
    names: tuple[str, ...]
    prompts: tuple[tuple[str, ...], ...]
    """For each class all texts that were read: for every template the name, then the synonyms."""
    templates: Templates
    teacher_id: str
    teacher_hash: str

    def means(self) -> np.ndarray:
        """float32 [C, D], unit rows: the mean of every class's prompts, all alike."""
        return unit(self.vectors.mean(axis=1, dtype=np.float64)).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Writes bank.safetensors and bank.json into `folder`; same bank, same bytes."""
        write_tensors(folder / "bank.safetensors", {"vectors": self.vectors})
        description = {
            "scale": self.scale,
            "names": self.names,
            "prompts": self.prompts,
            "templates": {"name": self.templates.name, "templates": self.templates.templates},
            "teacher": {"id": self.teacher_id, "hash": self.teacher_hash},
        }
        atomic.write_json(folder / "bank.json", description)

    @classmethod
    def load(cls, folder: Path) -> TextBank:
        """Reads what `save` wrote. Raises InputError if it is damaged."""
        vectors = read_tensors(folder / "bank.safetensors", {"vectors": 3})[0]["vectors"]
        try:
            read = outside.read_object(folder / "bank.json", outside.LARGE)
            bank = cls(
                vectors=vectors,
                scale=float(read["scale"]),
                names=tuple(read["names"]),
                prompts=tuple(tuple(texts) for texts in read["prompts"]),
                templates=Templates(read["templates"]["name"], tuple(read["templates"]["templates"])),
                teacher_id=read["teacher"]["id"],
                teacher_hash=read["teacher"]["hash"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise damaged(folder / "bank.json", error) from error
        if vectors.shape[:2] != (len(bank.names), len(bank.templates.templates)):
            raise damaged(folder, f"{vectors.shape[0]} classes and {vectors.shape[1]} prompts do not fit bank.json")
        return bank


def build_text_bank(teacher: Teacher, labels: Labels, templates: Templates, progress: Progress = SILENT) -> TextBank:
    """Runs the text tower once over every template, name and synonym."""
    prompts = tuple(_prompts_of(label, templates.templates) for label in labels.entries)
    features = read_texts(teacher, [text for of_class in prompts for text in of_class], progress)

    split = np.split(features, np.cumsum([len(of_class) for of_class in prompts])[:-1])
    by_template = (rows.reshape(len(templates.templates), -1, teacher.dim) for rows in split)  # [P, synonyms, D]
    vectors = np.stack([rows.mean(axis=1, dtype=np.float64) for rows in by_template])
    return TextBank(
        vectors=unit(vectors).astype(np.float32),
        scale=teacher.scale,
        names=labels.names,
        prompts=prompts,
        templates=templates,
        teacher_id=teacher.id,
        teacher_hash=teacher.files.weight_hash,
    )


def read_texts(teacher: Teacher, texts: Sequence[str], progress: Progress = SILENT) -> np.ndarray:
    """float32 [n, D], unit rows: what the text tower makes of any number of texts, one or more, in passes."""
    progress.start("prompts", len(texts))
    features = []
    for begin in range(0, len(texts), _TEXTS_A_PASS):
        batch = texts[begin : begin + _TEXTS_A_PASS]
        features.append(teacher.encode_text(batch))
        progress.advance(len(batch))
    progress.done()
    return np.concatenate(features)


def _prompts_of(label: Label, templates: Sequence[str]) -> tuple[str, ...]:
    """Every template with the name, then with each synonym."""
    words = prompt_words(label)
    return tuple(template.replace("{}", word) for template in templates for word in words)


def prompt_words(label: Label) -> tuple[str, ...]:
    """The name, then the synonyms, as they stand in a prompt: `hex_bolt` is two words."""
    return tuple(word.replace("_", " ") for word in label.words)
