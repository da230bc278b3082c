"""The check set of a build: the photos that were kept from training, as every machine will be measured on them."""

from __future__ import annotations

import numpy as np

from ..classes.class_vectors import ClassVectors
from ..images.gather import Images, rows_of
from ..targets.preprocess import decode, to_pixels
from ..teacher.stores import Stores
from ..work.tally import counts
from .checkset import CheckInfo, CheckSet


def check_set(images: Images, stores: Stores, classes: ClassVectors, size: int) -> CheckSet:
    """What every machine is measured on: pixels at the model's size and the frozen teacher's answers."""
    rows = rows_of(images.check, stores.check.hashes)
    pixels = np.stack([to_pixels(decode(images.check.read(row)), size) for row in rows])
    features = stores.check.centre()
    info = CheckInfo(
        images=len(rows),
        source=images.source,
        synthetic=images.synthetic_check,
        skipped=counts(images.check_skipped, stores.check.skipped),
        unmatched_folders=images.unmatched_folders,
    )
    teacher_class = (features @ classes.text.T).argmax(axis=1)
    return CheckSet(pixels, features, teacher_class.astype(np.int64), images.check_labels[rows], info)
