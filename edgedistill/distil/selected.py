"""Selection as a stage of a build: which of the rows that may train do, and selection.csv, which says why.

selection.csv has a line a photo that could have trained, in the order of content hashes:

    content  SHA-256 of the file        file   its name below --images, as it was when the stage was made
    kept     1 or 0                     score  by the rule, higher is better
    class    the pseudo-class           why    one of selection.REASONS

It is for people; the build reads the arrays beside it.
"""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..choices import SelectBy
from ..classes.class_vectors import class_vectors
from ..classes.tensor_file import read_tensors, write_tensors
from ..images.gather import rows_of
from ..targets.printable import spreadsheet
from ..work import atomic
from . import selection
from .selection import KEPT, REASONS, Selection

if TYPE_CHECKING:
    from ..classes.class_vectors import ClassVectors
    from ..classes.text_bank import TextBank
    from ..images.pool import Pool
    from ..teacher.store import TeacherStore
    from ..teacher.stores import Kept, Stores
    from ..work.stage import WorkFolder

log = logging.getLogger(__name__)

SELECT = 1  # version of the stage; when to raise it: work/stage.py
SELECTION_CSV = "selection.csv"
_ARRAYS = "selection.safetensors"
_TOLD = 20  # classes that the log names


@dataclass(frozen=True)
class SelectionOptions:
    """--select (a share up to 1, or a number), --select-by and --seed."""

    amount: float
    by: SelectBy
    seed: int


@dataclass(frozen=True, eq=False)
class MeanViews:
    """The mean view of these rows of a store, [n, D]: what `selection` reads, only where it is sliced."""

    store: TeacherStore
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice | np.ndarray) -> np.ndarray:
        """float32, the mean over the views' unit features; not unit itself."""
        mean: np.ndarray = self.store.all_views(self.rows[part]).mean(axis=1)
        return mean


def select(
    work: WorkFolder,
    pool: Pool,
    stores: Stores,
    kept: Kept,
    classes: ClassVectors,
    nouns: TextBank | None,
    options: SelectionOptions,
) -> Kept:
    """`kept` with the chosen rows alone. `pool`: that of the train store, for file names; `nouns`: only for `known`.

    `known` puts classes and nouns side by side, so it takes the class vectors as the prompts alone give them, and
    weighs the prompts of a noun as those of a class.
    """
    limit = selection.wanted(options.amount, len(kept.rows))
    vectors = classes.baked if nouns is None else classes.text
    weighed = None if nouns is None else class_vectors(nouns, classes.prompt_weights, weighting=classes.weighting).text
    columns = vectors if weighed is None else np.concatenate([vectors, weighed])
    stage = work.stage(
        "select",
        {
            "store": stores.train_stage.path.name,
            "rows": atomic.digest(kept.rows.tolist()),
            "columns": hashlib.sha256(columns.tobytes()).hexdigest(),
            "classes": list(classes.names),
            "by": options.by,
            "limit": limit,
            "seed": options.seed,
        },
        version=SELECT,
    )
    if not stage.ready():
        features = MeanViews(stores.train, kept.rows)
        made = selection.select(features, vectors, classes.scale, options.by, limit, seed=options.seed, nouns=weighed)
        folder = stage.begin()
        write_tensors(folder / _ARRAYS, vars(made))
        _write_csv(folder / SELECTION_CSV, made, pool, stores.train, kept.rows, classes.names)
        stage.finish()
    found = Selection(**read_tensors(stage.path / _ARRAYS, {"score": 1, "pseudo_class": 1, "why": 1})[0])
    _tell(found, options.by, limit, classes.names)
    log.info("why each photo was kept or dropped: %s", stage.path / SELECTION_CSV)
    return dataclasses.replace(kept, rows=kept.rows[found.rows], not_selected=found.dropped)


def _write_csv(
    path: Path, made: Selection, pool: Pool, store: TeacherStore, rows: np.ndarray, names: tuple[str, ...]
) -> None:
    """selection.csv; what a name holds that is no text, or that a spreadsheet would take for a formula, is escaped."""
    in_pool = rows_of(pool, store.hashes)
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("content", "file", "kept", "score", "class", "why"))
        for row, score, pseudo_class, why in zip(rows, made.score, made.pseudo_class, made.why):
            content, name = store.hashes[row].tobytes().hex(), pool.name(in_pool[row])
            shown, chosen = spreadsheet(name), spreadsheet(names[pseudo_class])
            table.writerow((content, shown, int(why == KEPT), f"{score:.6g}", chosen, REASONS[why]))


def _tell(found: Selection, by: str, limit: int, names: tuple[str, ...]) -> None:
    """One line: how many were kept of how many, and of each class; those with the most photos where there are many."""
    counts = found.counts(len(names))
    most = np.sort(np.argsort(-counts.sum(axis=1), kind="stable")[:_TOLD])
    each = ", ".join(f"{names[of]} {counts[of, 0]} of {counts[of].sum()}" for of in most)
    more = f", and {len(names) - _TOLD} more" if len(names) > _TOLD else ""
    rows = len(found.rows)
    short = f" (the rule keeps no more; {limit} were asked for)" if rows < limit else ""
    log.info("selected %d of %d photos by %s%s: %s%s", rows, len(found.why), by, short, each, more)
