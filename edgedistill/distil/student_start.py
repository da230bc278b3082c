"""Which student is trained, and where its weights come from: decided once, before anything is trained (`plan`).

They come from the timm hub, a folder with `student.safetensors` + `student.json`, the tower of a CLIP, or are drawn
anew. The weights are loaded on trial before the answer is given, which comes with its reason, for the report.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch

from .. import records
from ..errors import InputError
from ..teacher import hub
from ..teacher.names import find_teacher
from ..work import atomic
from .prompted_tower import DEFAULT_TOWER, TowerShape
from .student import Student, timm, with_weights
from .student_card import CARD, PROMPTED, WEIGHTS, Card, Pixels, read_card
from .student_files import load_student

log = logging.getLogger(__name__)

_TIMM_FILES = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The student to train and the weights it starts from, decided before any work is done.

    `source`: "hub" (`weights` is a file of timm's), "folder" (`weights` is a folder of ours), "tower" (`weights` is a
    file of a CLIP, and `card` says which part of it and how its images are normalised) or "scratch".
    `reason` is a phrase for the manifest: it names no path of this machine and nothing that passes, such as a hub that
    did not answer. `final` is False where the hub was out of reach: it may give another answer next time.
    """

    name: str
    source: Literal["hub", "folder", "tower", "scratch"]
    reason: str
    weights: Path | None = None
    sha256: str | None = None
    card: Card | None = None
    final: bool = True

    @property
    def licence(self) -> str:
        """Of the weights it starts from, as their publisher states it."""
        if self.source == "scratch":
            return "none: no weights but our own training"
        if self.card is not None:
            stated = self.card.licence
        else:
            published = timm.get_pretrained_cfg(self.name)
            stated = published.license if published is not None else None
        return stated or "unknown: see where the weights come from"

    @property
    def kwargs(self) -> dict[str, Any] | None:
        """Of the network, beside its name."""
        return self.card.kwargs if self.card else None

    @property
    def key(self) -> dict[str, Any]:
        """What the trained student depends on here, for a stage's inputs: no path, no time."""
        return {"student": self.name, "start": self.source, "weights": self.sha256, "card": records.plain(self.card)}


def plan(student: str | None, weights: str, default: str, size: int) -> Plan:
    """Resolve --student and --student-weights: which network, and which weights it really can have here and now.

    `weights` is "auto" (timm's hub weights; scratch, with a warning, where they cannot be had), "none" (scratch) or a
    folder with student.json and student.safetensors. For the prompted student it is that folder, or a CLIP whose tower
    it freezes, named as teachers are ("auto": ViT-B-16/openai). `default` is the profile's student, `size` that of its
    images.
    What is planned has been built once: raises InputError for damaged weights, weights of another network, a folder
    that cannot be used, a `student` unlike the folder's, an unknown network, and one that does not take `size`.
    """
    if (student or default) == PROMPTED and not (Path(weights) / CARD).is_file():
        return _tried(_from_tower(weights), size)
    if weights not in ("auto", "none"):
        return _tried(_from_folder(Path(weights), student), size)
    name = student or default
    if weights == "none":
        return _tried(Plan(name=name, source="scratch", reason=f"{name} from scratch, as asked"), size)
    try:
        found = _from_hub(name)
    except hub.HubUnavailable as error:
        final = isinstance(error, hub.NotOnHub)
        found = _tried(_without_weights(name, final), size)  # before the warning: a wrong name is told as that alone
        again = "" if final else ", and the next run asks again"
        log.warning("no pretrained weights for the student %s (%s): it starts from scratch%s", name, error, again)
        return found
    with_weights(name, cast(Path, found.weights))  # with its classifier: only then timm insists on every tensor
    return _tried(found, size)


def plan_again(name: str, source: str, sha256: str | None) -> Plan:
    """The final plan that "auto" once made: `source` "hub", "tower" or "scratch", with the weights' hash.

    Raises InputError where those weights cannot be had any more, or have become others.
    """
    if source == "scratch":
        return _without_weights(name, final=True)
    remedy = "Give --student-weights, or another --work to begin anew with what can be had now."
    try:
        found = _from_tower("auto") if source == "tower" else _from_hub(name)
    except hub.HubUnavailable as error:
        raise InputError(
            f"this work folder's {name} started from timm's weights, and now they cannot be had: {error}", remedy
        ) from error
    if found.sha256 != sha256:
        raise InputError(f"the weights of {name} are others than those this work folder's started from", remedy)
    return found


def _tried(found: Plan, size: int) -> Plan:
    """The plan itself, once its student could be built. Raises InputError where it cannot."""
    card = found.card
    dim = card.projector.dim if card and card.projector else 1
    create_student(found, dim, card.teacher.hash if card and card.teacher else "", size=size)
    return found


def _from_folder(folder: Path, student: str | None) -> Plan:
    card = read_card(folder)
    if student is not None and student != card.name:
        raise InputError(
            f"--student is {student!r}, but {folder / CARD} is a {card.name!r}",
            "Leave --student out, or point --student-weights at weights of that network.",
        )
    return Plan(
        name=card.name,
        source="folder",
        reason=f"weights of {card.name} from {folder.resolve().name}",
        weights=folder,
        sha256=atomic.sha256_file(folder / WEIGHTS),
        card=card,
    )


def _from_tower(clip: str) -> Plan:
    """The prompted student on the image tower of a CLIP, "auto" being the paper's. Raises InputError."""
    if clip == "none":
        raise InputError(
            f"--student-weights none, but {PROMPTED} never trains its tower: it would see nothing",
            f"Leave it out, or name a CLIP as teachers are named ({DEFAULT_TOWER}, local-dir:FOLDER).",
        )
    try:
        files = find_teacher(DEFAULT_TOWER if clip == "auto" else clip)
    except InputError as error:
        raise InputError(
            f"the student {PROMPTED} needs the image tower of a CLIP: {error.wrong}",
            "Give --student-weights a CLIP that is here (local-dir:FOLDER) or a student's folder.",
        ) from error
    mean, std = ((r, g, b) for r, g, b in (files.preprocess["mean"], files.preprocess["std"]))
    return Plan(
        name=PROMPTED,
        source="tower",
        reason=f"{PROMPTED} on the frozen image tower of {files.id}",
        weights=files.weights,
        sha256=files.weight_hash,
        card=Card(
            name=PROMPTED,
            kwargs=records.plain(TowerShape.of(files)),
            preprocessing=Pixels(mean=mean, std=std, size=files.image_size),
            licence=files.licence,
        ),
    )


def _from_hub(name: str) -> Plan:
    """Raises hub.HubUnavailable with the reason; hub.NotOnHub where it is that timm publishes none."""
    config = timm.get_pretrained_cfg(name) if timm.is_model(name) else None
    if config is None or not config.hf_hub_id:
        raise hub.NotOnHub(f"timm publishes none for {name}")
    file = hub.fetch(config.hf_hub_id, _TIMM_FILES)
    reason = f"{name} with timm's weights {config.hf_hub_id}"
    return Plan(name=name, source="hub", reason=reason, weights=file, sha256=atomic.sha256_file(file))


def _without_weights(name: str, final: bool) -> Plan:
    reason = f"{name} from scratch: no pretrained weights could be had"
    return Plan(name=name, source="scratch", reason=reason, final=final)


def create_student(start: Plan, dim: int, teacher_hash: str, *, size: int, seed: int = 0) -> tuple[Student, bool]:
    """The planned student with a projector to `dim`, and whether that projector came trained for this very teacher.

    Only then does the untrained start mean something. Fresh weights depend on `seed` alone; torch's own random state
    is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if start.source == "folder":
            assert start.weights is not None
            return load_student(start.weights, dim=dim, teacher_hash=teacher_hash, size=size)
        student = Student(start.name, dim, size=size, kwargs=start.kwargs, weights=start.weights)
        if start.card is not None:
            student.see_as(start.card.preprocessing)
        return student, False
