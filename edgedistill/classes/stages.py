"""From class names to class vectors as a build does it: every prompt's vector once, then weights from the pool."""

from __future__ import annotations

import logging

import numpy as np

from ..labels import Labels
from ..teacher.in_use import TeacherInUse
from ..teacher.store import TeacherStore
from ..work.console import Progress
from ..work.stage import WorkFolder
from .class_vectors import ClassVectors, class_vectors, close_pairs, refined
from .generic_nouns import nouns_beside
from .prompt_weights import prompt_weights
from .templates import Templates
from .text_bank import TextBank, build_text_bank

log = logging.getLogger(__name__)

KEPT_ENOUGH = 0.97  # of the pool's photos: from here on refined vectors hardly change the agreement with the teacher
TEXT = 2  # version of the stage that makes the bank; when to raise it: work/stage.py


def text_bank(
    work: WorkFolder, labels: Labels, templates: Templates, teacher: TeacherInUse, progress: Progress
) -> TextBank:
    """Every prompt's unit vector. The text tower runs once; warns of classes that the teacher can hardly tell apart."""
    bank = _read(work, labels, templates, teacher, progress)
    uniform = class_vectors(bank, np.full(bank.vectors.shape[1], 1 / bank.vectors.shape[1]), weighting="uniform")
    for one, other, gap in close_pairs(uniform):
        log.warning(
            "the teacher hardly tells %r from %r (%.1f apart, 2 is close): reword one, or add synonyms",
            one,
            other,
            gap,
        )
    return bank


def noun_bank(
    work: WorkFolder, labels: Labels, templates: Templates, teacher: TeacherInUse, progress: Progress
) -> TextBank:
    """The same of the generic nouns that are no class, under the same prompts, so that both can stand side by side."""
    return _read(work, nouns_beside(labels), templates, teacher, progress)


def _read(
    work: WorkFolder, labels: Labels, templates: Templates, teacher: TeacherInUse, progress: Progress
) -> TextBank:
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
    return TextBank.load(stage.path)


def fitted(
    bank: TextBank,
    weighting: str,
    refinement: str,
    store: TeacherStore,
    rows: np.ndarray,
    mean_feature: np.ndarray | None,
    *,
    accuracy_decides: bool,
) -> ClassVectors:
    """Weigh the prompts on the pool, and move what is baked to its photos. No label takes part.

    Refined vectors are meant to answer otherwise than the words do, so a student of theirs agrees less with the frozen
    teacher. "auto" takes the prototypes where the verdict is by accuracy (`accuracy_decides`: there are labelled check
    photos enough), or where nearly all photos keep their class; else nothing could tell better answers from worse ones,
    and the words stay.
    """
    if weighting == "zero-shot" and mean_feature is None:
        weighting = "zero-shot-pool"
        log.info("prompt weights zero-shot-pool: this teacher comes without a broad mean feature")
    weights = prompt_weights(bank, weighting, store.centre_views(rows), mean_feature)
    vectors = class_vectors(bank, weights, weighting=weighting)
    if refinement == "none":
        return vectors
    found = refined(vectors, "prototypes" if refinement == "auto" else refinement, store.mean_views(rows))
    centre = store.centre(rows)
    kept = float(((centre @ found.baked.T).argmax(1) == (centre @ vectors.text.T).argmax(1)).mean())
    if refinement == "auto" and not accuracy_decides and kept < KEPT_ENOUGH:
        log.info(
            "class vectors stay at the words: refined ones would answer otherwise for %.0f %% of the photos, and "
            "without 500 labelled check photos nothing tells whether better (--refine prototypes takes them anyway)",
            100 * (1 - kept),
        )
        return vectors
    log.info("class vectors refined (%s): %.0f %% of the photos keep their class", found.refinement, 100 * kept)
    return found
