"""The example's start: a small student that speaks the example teacher's language, about everything but the job.

MobileNetV3-small's ImageNet weights, a fresh projector, and the product's own store and training loop: the teacher's
image vectors of the broad pool (and, if given, of rendered parts that are not on the example's list) are all there is.
No label, no caption and none of the six families take part. What a user's build adds is then the user's photos.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from edgedistill.classes.class_vectors import class_vectors
from edgedistill.classes.prompt_weights import prompt_weights
from edgedistill.classes.templates import template_set
from edgedistill.classes.text_bank import build_text_bank
from edgedistill.distil.config import TrainConfig
from edgedistill.distil.lesson import Lesson
from edgedistill.distil.loop import train
from edgedistill.distil.methods.embedding import Embedding
from edgedistill.distil.student import Student
from edgedistill.distil.student_card import Pixels
from edgedistill.distil.student_files import save_student
from edgedistill.images.pixels import short_side_for
from edgedistill.images.pool import scan
from edgedistill.labels import Label, Labels
from edgedistill.teacher.fill import TeacherPass, build_store
from edgedistill.teacher.names import find_teacher
from edgedistill.teacher.store import TeacherStore
from edgedistill.teacher.tower import Teacher
from edgedistill.work import atomic

log = logging.getLogger("demo_teacher")

TIMM_NAME, SIZE, VIEWS = "tf_mobilenetv3_small_100", 160, 4
NEVER = ("hex bolt", "hex nut", "washer", "spur gear", "coil spring", "ball bearing")  # the example's list


def make_start(options: argparse.Namespace, photos: Sequence[Path], parts: Sequence[dict[str, Any]]) -> None:
    """Writes OUT/start from OUT/teacher. `photos`: the broad pool; `parts`: lines of RENDERS/start/captions.jsonl."""
    seen = {part["family"] for part in parts}
    if seen & set(NEVER) or any(part["side"] != "pool" for part in parts):
        raise SystemExit("the start must see neither the example's parts nor check-side scenes")
    files = find_teacher(f"local-dir:{options.out / 'teacher'}")
    pictures = [*photos, *(part["path"] for part in parts)]
    seen_by_start = atomic.digest([path.name for path in pictures])
    work = options.work / f"start-{files.weight_hash[:12]}-{seen_by_start[:12]}"
    folder = work / "pool"
    if not folder.exists():
        unfinished = work / "pool.part"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        for number, path in enumerate(pictures):
            shutil.copyfile(path, unfinished / f"{number:05d}{path.suffix}")
        unfinished.replace(folder)

    teacher, pool = Teacher(files), scan(folder)
    log.info("start: %d pictures, %d views each", len(pool), VIEWS)
    side = short_side_for(teacher.image_size, SIZE)
    build_store(work / "store", TeacherPass(pool, teacher, seed=options.seed, views=VIEWS, short_side=side))
    store = TeacherStore.open(work / "store")
    # The loop reports agreement on some list; the embedding method does not train on it.
    some = Labels(tuple(Label(name) for name in ("animal", "food", "tool", "vehicle", "building", "clothes", "plant")))
    bank = build_text_bank(teacher, some, template_set("general"))
    classes = class_vectors(bank, prompt_weights(bank, "uniform"), weighting="uniform")

    torch.manual_seed(options.seed)
    student = Student(TIMM_NAME, teacher.dim, size=SIZE)
    student.see_as(Pixels(mean=(0.5,) * 3, std=(0.5,) * 3))
    state = load_file(options.weights / TIMM_NAME / "model_fp16.safetensors")
    # BatchNorm is folded into these weights; the training loop notices and unfolds it with statistics of the pool.
    student.backbone.load_state_dict({k: v.float() for k, v in state.items() if not k.startswith("classifier.")})
    student.pretrained = True  # the loop then trains them gently
    config = TrainConfig(size=SIZE, epochs=options.start_epochs, batch=64, seed=options.seed, threads=options.threads)
    (work / "train").mkdir(exist_ok=True)
    lesson = Lesson(store=store, rows=np.arange(len(store)), method=Embedding(), classes=classes, bank=bank)
    result = train(student, lesson, config, work / "train")
    out = options.out / "start"
    out.mkdir(parents=True, exist_ok=True)
    save_student(out, result.student, teacher_id=teacher.id, teacher_hash=files.weight_hash, size=SIZE, half=True,
                 licence="demonstration only: see CARD.md")  # fmt: skip
    (work / "last.json").write_text(json.dumps(result.metrics[-1]), encoding="utf-8")
    log.info("wrote %s: %s", out, result.metrics[-1])
