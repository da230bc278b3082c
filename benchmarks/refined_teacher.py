"""What refining the class vectors does to the teacher itself: its top-1 on check photos, before any student learns.

    python benchmarks/refined_teacher.py --json benchmarks/results/refined_teacher.json

From the repository root, on the sets that benchmarks/study.py has prepared. Nothing is trained and the vectors see no
label: they come from the rows that train, and are asked about the check photos, centre view. Rows, SET being a set of
the study:

    SET/words                     the text vectors, prompts weighed as by default
    SET/prototypes                what `--refine prototypes` bakes
    SET/visual                    what `--refine visual` bakes
    SET/steadiness, words         the share of views that are classed as the mean over their photo's views
    SET/steadiness, prototypes
    SET/keep their class          the share of photos that words and prototypes class alike
    SET/auto refines              1 where `--refine auto` takes the prototypes

Of the development sets, where they were chosen among, also what was tried in place of one step, half-way to equal
classes, the text as one photo. Intervals are Wilson's at 95 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import rows
import study_sets
from study_sets import VIEWS, Set

from edgedistill.classes.class_vectors import ClassVectors
from edgedistill.classes.refine import prototypes
from edgedistill.classes.stages import view_consistency
from edgedistill.verdict.intervals import wilson

STEPS, EVENED, PRIORS = (2, 3, 10), (0.0, 1.0), (0.1, 10.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=96, help="pixels a side of the study")
    parser.add_argument("--work", type=Path, default=Path(".edgedistill/study"), help="where the study keeps its sets")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = []
    for folder in sorted((options.work / "sets").glob(f"*-{options.size}")):
        prepared = study_sets.read(folder)
        found += list(figures(prepared))
        if prepared.name in study_sets.DEVELOPMENT:
            found += list(variants(prepared))
    rows.report(found, options.json)


def figures(prepared: Set) -> Iterator[rows.Row]:
    """What the three kinds of class vectors answer on one set, and what the automatic choice looks at."""
    store = prepared.store.first_views(VIEWS)
    words, refined = prepared.classes("zero-shot"), prepared.classes("zero-shot", "prototypes")
    yield right(prepared, "words", words.text)
    yield right(prepared, "prototypes", refined.baked)
    yield right(prepared, "visual", prepared.classes("zero-shot", "visual").baked)
    yield plain(prepared, "steadiness, words", view_consistency(store, prepared.rows, words))
    yield plain(prepared, "steadiness, prototypes", view_consistency(store, prepared.rows, refined))
    centre = store.centre(prepared.rows)
    same = (centre @ words.text.T).argmax(axis=1) == (centre @ refined.baked.T).argmax(axis=1)
    yield plain(prepared, "keep their class", float(same.mean()))
    taken = prepared.classes("zero-shot", "auto").refinement == "prototypes"
    yield plain(prepared, "auto refines", float(taken), "of 1")


def variants(prepared: Set) -> Iterator[rows.Row]:
    """The choices of refine.prototypes, one at a time."""
    words = prepared.classes("zero-shot")
    features = prepared.store.first_views(VIEWS).mean_views(prepared.rows)
    for steps in STEPS:
        yield right(prepared, f"prototypes, {steps} steps", stepped(features, words, steps))
    for evened in EVENED:
        name = "classes not evened" if evened == 0 else "classes made equal"
        baked = prototypes(features, words.text, words.scale, evened=evened)
        yield right(prepared, f"prototypes, {name}", baked)
    for prior in PRIORS:
        baked = prototypes(features, words.text, words.scale, prior=prior)
        yield right(prepared, f"prototypes, text as {prior:g} photos", baked)


def stepped(features: np.ndarray, words: ClassVectors, steps: int) -> np.ndarray:
    """float32 [C, D]: soft k-means that goes on, each step from the vectors of the one before."""
    vectors = words.text
    for _ in range(steps):
        vectors = prototypes(features, vectors, words.scale)
    return vectors


def right(prepared: Set, name: str, vectors: np.ndarray) -> rows.Row:
    """Top-1 of these class vectors on the labelled check photos."""
    known = prepared.labels >= 0
    chosen = (prepared.check_features[known] @ vectors.T).argmax(axis=1)
    hits = chosen == prepared.labels[known]
    low, high = wilson(int(hits.sum()), len(hits))
    return rows.Row(figure=f"{prepared.name}/{name}", value=float(hits.mean()), low=low, high=high, unit="top-1")


def plain(prepared: Set, name: str, value: float, unit: str = "share") -> rows.Row:
    return rows.Row(figure=f"{prepared.name}/{name}", value=value, low=value, high=value, unit=unit)


if __name__ == "__main__":
    main()
