"""From class names to class vectors as a build does it: every prompt's vector once, then weights from the pool."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

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
from .class_vectors import ClassVectors, class_vectors, close_pairs, refined, typical_gap
from .generic_nouns import nouns_beside
from .prompt_weights import prompt_weights
from .templates import Templates
from .text_bank import TextBank, build_text_bank

log = logging.getLogger(__name__)

KEPT_ENOUGH = 0.97  # of the pool's photos: from here on refined vectors hardly change the agreement with the teacher
# Of all views. On the study's seven sets it is at most 0.01, or 0.11 where the teacher is at chance
# (benchmarks/refined_teacher.py; docs/results.md).
LESS_STEADY = 0.05
# Versions of the two stages; when to raise them: work/stage.py.
TEXT = 2  # the bank
PROMPTS = 1  # tuned prompts
PROMPTS_FILE = "prompts.safetensors"
# In logits, and ours: the median gap between classes that looks as if the teacher did not know their words. Of fewer
# classes than FEW a close pair says enough.
STRANGE, FEW = 8.0, 5
_TOLD = 5  # pairs of close classes that the log names


def text_bank(
    work: WorkFolder, labels: Labels, templates: Templates, teacher: TeacherInUse, progress: Progress
) -> TextBank:
    """Every prompt's unit vector. The text tower runs once; warns of classes that the teacher can hardly tell apart."""
    bank = read_bank(work, labels, templates, teacher, progress)
    uniform = class_vectors(bank, np.full(bank.vectors.shape[1], 1 / bank.vectors.shape[1]), weighting="uniform")
    tell_close(close_pairs(uniform))
    gap = typical_gap(uniform)
    if len(bank.names) >= FEW and gap < STRANGE:
        log.warning(
            "to the teacher all these classes are nearly alike (%.1f apart in the median): it may not know the words, "
            "such as those of another language than it was trained on. Name them in its language, mostly English, or "
            "use a teacher that was trained on that language",
            gap,
        )
    return bank


def tell_close(pairs: Sequence[tuple[str, str, float]]) -> None:
    """Warns of classes that the teacher can hardly tell apart: the closest few pairs, and how many more there are."""
    for one, other, gap in pairs[:_TOLD]:
        log.warning(
            "the teacher hardly tells %r from %r (%.1f apart, 2 is close): reword one, or add synonyms",
            one,
            other,
            gap,
        )
    if len(pairs) > _TOLD:
        classes = {name for pair in pairs for name in pair[:2]}
        log.warning("and %d more pairs like these, of %d classes together", len(pairs) - _TOLD, len(classes))


def noun_bank(
    work: WorkFolder, labels: Labels, templates: Templates, teacher: TeacherInUse, progress: Progress
) -> TextBank:
    """The same of the generic nouns that are no class, under the same prompts, so that both can stand side by side."""
    return read_bank(work, nouns_beside(labels), templates, teacher, progress)


def read_bank(
    work: WorkFolder, labels: Labels, templates: Templates, teacher: TeacherInUse, progress: Progress
) -> TextBank:
    """Every prompt's unit vector, without a word about close classes."""
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
    if not stage.ready():
        build_text_bank(teacher.load("float32"), labels, templates, progress).save(stage.begin())
        stage.finish()
    return TextBank.load(stage.path)


def tuned_prompts(
    work: WorkFolder, photos: FewShot, bank: TextBank, teacher: TeacherInUse, plan: ViewPlan, progress: Progress
) -> TunedPrompts:
    """The teacher's prompts, tuned on labelled photos (PromptSRC); the text tower has to be there still.

    Raises InputError where the teacher takes no prompts, and where a photo cannot be decoded.
    """
    text = bank.means()
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
    if not stage.ready():
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
    and the words stay. They also stay where prototypes answer much less steadily over the views of a photo
    (LESS_STEADY): in a pool that the teacher hardly understands, soft k-means finds groups that are not the classes.
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
    lost = view_consistency(store, rows, vectors) - view_consistency(store, rows, found)
    if refinement == "auto" and lost > LESS_STEADY:
        log.info(
            "class vectors stay at the words: by refined ones %.0f in 100 views more are classed otherwise than their "
            "photo (--refine prototypes takes them anyway)",
            100 * lost,
        )
        return vectors
    if refinement == "auto" and not accuracy_decides and kept < KEPT_ENOUGH:
        log.info(
            "class vectors stay at the words: refined ones would answer otherwise for %.0f %% of the photos, and "
            "without 500 labelled check photos nothing tells whether better (--refine prototypes takes them anyway)",
            100 * (1 - kept),
        )
        return vectors
    log.info("class vectors refined (%s): %.0f %% of the photos keep their class", found.refinement, 100 * kept)
    return found


def view_consistency(store: TeacherStore, rows: np.ndarray, vectors: ClassVectors, chunk: int = 4096) -> float:
    """The share of views of these rows that what is baked classes as it does the mean over the photo's views."""
    same = []
    for start in range(0, len(rows), chunk):
        part = rows[start : start + chunk]
        mean = (store.mean_views(part) @ vectors.baked.T).argmax(axis=-1)
        same.append((store.all_views(part) @ vectors.baked.T).argmax(axis=-1) == mean[:, None])
    return float(np.concatenate(same).mean())
