"""From class names to class vectors as a build does it: every prompt's vector once, then weights from the pool."""

from __future__ import annotations

import hashlib
import logging

import numpy as np

from ..errors import InputError
from ..images.few_shot import FewShot
from ..images.pixels import short_side_for
from ..images.pool import Pool
from ..labels import Labels
from ..targets.preprocess import BadImage
from ..teacher.fill import TeacherPass
from ..teacher.in_use import TeacherInUse
from ..teacher.prompt_src import TunedPrompts, tune_prompts
from ..teacher.store import TeacherStore
from ..teacher.stores import ViewPlan
from ..teacher.tower import Teacher
from ..work import atomic
from ..work.console import Progress
from ..work.stage import WorkFolder
from .class_vectors import ClassVectors, class_vectors, close_pairs
from .prompt_weights import prompt_weights
from .templates import Templates
from .text_bank import TextBank, build_text_bank, unit

log = logging.getLogger(__name__)

# Versions of the two stages; when to raise them: work/stage.py.
TEXT = 2  # the bank
PROMPTS = 1  # tuned prompts
PROMPTS_FILE = "prompts.safetensors"


def text_bank(
    work: WorkFolder, labels: Labels, templates: Templates, teacher: TeacherInUse, progress: Progress
) -> TextBank:
    """Every prompt's unit vector. The text tower runs once; warns of classes that the teacher can hardly tell apart."""
    stage = work.stage(
        "text",
        {
            "labels": labels.to_json(),
            "templates": list(templates.templates),
            "teacher": teacher.files.weight_hash,
            "architecture": teacher.files.transform_id,
        },
        version=TEXT,
    )
    if not stage.done:
        build_text_bank(teacher.load("float32"), labels, templates, progress).save(stage.begin())
        stage.finish()
    bank = TextBank.load(stage.path)
    uniform = class_vectors(bank, np.full(bank.vectors.shape[1], 1 / bank.vectors.shape[1]), weighting="W1")
    for one, other, gap in close_pairs(uniform):
        log.warning(
            "the teacher hardly tells %r from %r (%.1f apart, 2 is close): reword one, or add synonyms",
            one,
            other,
            gap,
        )
    return bank


def tuned_prompts(
    work: WorkFolder, photos: FewShot, bank: TextBank, teacher: TeacherInUse, plan: ViewPlan, progress: Progress
) -> TunedPrompts:
    """The teacher's prompts, tuned on labelled photos (PromptSRC); the text tower has to be there still.

    Raises InputError where the teacher takes no prompts, and where a photo cannot be decoded.
    """
    text = unit(bank.vectors.mean(axis=1, dtype=np.float64)).astype(np.float32)
    stage = work.stage(
        "prompts",
        {
            "photos": photos.pool.fingerprint,
            "labels": atomic.digest(photos.labels.tolist()),
            "names": bank.names,
            "text": hashlib.sha256(text.tobytes()).hexdigest(),
            "teacher": teacher.files.weight_hash,
            "architecture": teacher.files.transform_id,
            "device": teacher.compute.device,
            "threads": teacher.compute.threads,
            "seed": plan.seed,
            "views": plan.views,
            "size": plan.size,
        },
        version=PROMPTS,
    )
    if not stage.done:
        tower = teacher.load("float32")
        crops = views_of(photos.pool, tower, plan)
        log.info("tuning the teacher's prompts on %d labelled photos", len(crops))
        tuned = tune_prompts(tower, crops, photos.labels, bank.names, text, seed=plan.seed, progress=progress)
        tuned.save(stage.begin() / PROMPTS_FILE)
        stage.finish()
    return TunedPrompts.load(stage.path / PROMPTS_FILE)


def views_of(pool: Pool, teacher: Teacher, plan: ViewPlan) -> np.ndarray:
    """uint8 [K,V,S,S,3]: the views of every photo, as a store would have them. Raises InputError naming a bad one."""
    work = TeacherPass(pool, teacher, plan.views, plan.seed, short_side_for(teacher.image_size, plan.size))
    found = []
    for row in range(len(pool)):
        looked = work.look(row)
        if isinstance(looked, BadImage):
            raise InputError(
                f"the few-shot photo {pool.folder / pool.name(row)} cannot be read: {looked.reason}", "Take it out."
            )
        found.append(looked[1])
    return np.stack(found)


def weighed(
    bank: TextBank, weighting: str, store: TeacherStore, rows: np.ndarray, mean_feature: np.ndarray | None
) -> ClassVectors:
    """Weigh the prompts on the pool and make the vectors that are baked. No label takes part."""
    if weighting == "W3" and mean_feature is None:
        weighting = "W3-pool"
        log.info("prompt weights W3-pool: this teacher comes without a broad mean feature")
    weights = prompt_weights(bank, weighting, store.centre_views(rows), mean_feature)
    return class_vectors(bank, weights, weighting=weighting)
