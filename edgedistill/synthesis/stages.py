"""Images from class names as stages of a build: the prompts, the images as they were made, then those that stay."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..choices import Diversify
from ..classes.text_bank import TextBank
from ..errors import InputError
from ..labels import Labels
from ..teacher.in_use import TeacherInUse
from ..work.console import Progress
from ..work.stage import Stage, WorkFolder
from .blocks import Blocks
from .diversity import diversity
from .engine import Source
from .filter import Filtered, Reason, filtered
from .folder import Outcome, write_folder
from .judge import Judge
from .prompts import Prompts, diversified

log = logging.getLogger(__name__)

# Versions of the stages; when to raise them: work/stage.py.
PROMPTS = 1  # what images are to show
TOGETHER = 1  # links to images and photos
MADE = 3  # the images
SYNTHETIC = 1  # the folder of those that stay
NO_IMAGE: Reason = "no image"  # withheld by a safety checker, or not readable
_TOLD = 20  # classes that the log names


@dataclass(frozen=True, eq=False)
class Making:
    """What is to be made, and by what: these `rows` (int64 [N]) of prompts, by the engine of `source`."""

    labels: Labels
    prompts: Prompts
    rows: np.ndarray
    source: Source
    seed: int


@dataclass(frozen=True)
class PromptPlan:
    """--diversify, how many prompts a class, --seed."""

    way: Diversify
    count: int
    seed: int


def prompts(
    work: WorkFolder, plan: PromptPlan, bank: TextBank, teacher: TeacherInUse, labels: Labels, progress: Progress
) -> Prompts:
    """What images are to show, in the space of the teacher that they are made under; its text tower runs once."""
    stage = work.stage(
        "image-prompts",
        {
            **dataclasses.asdict(plan),
            "labels": labels.to_json(),
            "templates": list(bank.templates.templates),
            "teacher": teacher.files.weight_hash,
            "architecture": teacher.files.transform_id,
            "device": teacher.compute.device,
            "threads": teacher.compute.threads,
        },
        version=PROMPTS,
    )
    if not stage.ready():
        found = diversified(plan.way, plan.count, bank, teacher.load("float32"), labels, plan.seed, progress)
        found.save(stage.begin())
        stage.finish()
    return Prompts.load(stage.path)


def synthetic_images(
    work: WorkFolder, making: Making, judge: Judge, facts: dict[str, Any], progress: Progress
) -> Stage:
    """The finished stage whose folder holds the images that stay, a class a folder (folder.py).

    facts: JSON, what the record says beside the engine's facts. Raises InputError where no image stays, where the disk
    is too small, and what the engine raises.
    """
    made = _made(work, making, judge, progress)
    stage = work.stage(
        "synthetic", {"made": made.path.name, "labels": making.labels.to_json(), "facts": facts}, version=SYNTHETIC
    )
    if stage.ready():
        return stage
    blocks = Blocks(made.path, making.rows)
    features = blocks.features()
    classes = making.prompts.classes[making.rows]
    probabilities = judge.probabilities(features)
    outcome = Outcome(
        prompts=making.prompts,
        blocks=blocks,
        own=probabilities[np.arange(len(classes)), classes],
        filtered=judged(features, probabilities, classes),
    )
    tell(outcome.filtered, classes, making.labels)
    stay = outcome.filtered.kept
    varied = diversity(features[stay], classes[stay], judge.vectors)
    log.info("images that stay: %s", varied)
    about = {**facts, "engine": making.source.facts, "seed": making.seed, "diversity": dataclasses.asdict(varied)}
    write_folder(stage.begin(), making.labels.names, outcome, about)
    stage.finish()
    return stage


def together(work: WorkFolder, made: Path, photos: Path) -> Path:
    """A folder of links to both: images that were made, and photos as they are."""
    stage = work.stage("together", {"made": made.name, "photos": str(photos.resolve())}, version=TOGETHER)
    if not stage.ready():
        folder = stage.begin()
        for name, target in (("made", made), ("photos", photos)):
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(target.resolve(), target_is_directory=True)
        stage.finish()
    return stage.path


def _made(work: WorkFolder, making: Making, judge: Judge, progress: Progress) -> Stage:
    """The finished stage that holds every image that was made."""
    files, compute = judge.teacher.files, judge.teacher.compute
    stage = work.stage(
        "made",
        {
            "engine": making.source.identity,
            "prompts": _digest(making.prompts, making.rows),
            "seed": making.seed,
            "teacher": files.weight_hash,
            "transform": files.transform_id,
            "device": compute.device,
            "threads": compute.threads,
        },
        version=MADE,
    )
    if not stage.ready(lambda folder, wrong: Blocks(folder, making.rows).drop(wrong)):
        Blocks(stage.begin(), making.rows).make(making.source.open(), making.prompts, making.seed, judge.look, progress)
        stage.finish()
    return stage


def _digest(prompts: Prompts, rows: np.ndarray) -> str:
    """Of all that an engine may read of these rows."""
    texts = "\n".join(prompts.texts[row] for row in rows)  # of --generated names of files, which need not be UTF-8
    found = hashlib.sha256(texts.encode("utf-8", "surrogateescape"))
    for values in (prompts.classes[rows], prompts.targets[rows], prompts.shares[rows]):
        found.update(np.ascontiguousarray(values).tobytes())
    return found.hexdigest()


def judged(features: np.ndarray, probabilities: np.ndarray, classes: np.ndarray) -> Filtered:
    """The filter's answer for images that are there; one that is not (a row of zeros) does not stay."""
    there = np.asarray(features.any(axis=1))
    found = filtered(features[there], probabilities[there], classes[there])
    if there.all():
        return found
    kept, weights = np.zeros(len(there), bool), np.zeros(len(there), np.float32)
    kept[there], weights[there] = found.kept, found.weights
    why = iter(found.reasons)
    reasons = tuple(next(why) if is_there else NO_IMAGE for is_there in there)
    return dataclasses.replace(found, kept=kept, weights=weights, reasons=reasons)


def tell(found: Filtered, classes: np.ndarray, labels: Labels) -> None:
    """One line: how many of how many stay, and of each class; those with the fewest where there are many.

    Warns of classes that no image shows. Raises InputError where none stays at all.
    """
    made = np.bincount(classes, minlength=len(labels))
    kept = np.bincount(classes[found.kept], minlength=len(labels))
    if not kept.any():
        raise InputError(
            f"the teacher sees in none of {len(classes)} images what it was made to show",
            "Reword the classes or add synonyms, take a stronger --teacher, or give photos with --images.",
        )
    fewest = np.sort(np.argsort(kept, kind="stable")[:_TOLD])
    each = ", ".join(f"{labels.names[of]} {kept[of]} of {made[of]}" for of in fewest)
    more = f", and {len(labels) - _TOLD} more with no fewer" if len(labels) > _TOLD else ""
    log.info("%d of %d images stay: %s%s", found.kept.sum(), len(classes), each, more)
    lost = [name for name, count, asked in zip(labels.names, kept, made) if asked and not count]
    if lost:
        log.warning(
            "no image shows %s: reword or add synonyms, or give photos of it", " or ".join(map(repr, lost[:_TOLD]))
        )
