"""The int8 graph of a build, every choice in it made by measurement on photos of the pool.

    calibration   the method whose graph's embeddings are closest to fp32's
    float layers  where int8 still chooses another class than fp32 too often: the layers that cost the most stay in
                  float, as few as bring it back
    fine-tuning   where that does not help either, and the caller can: the student learns with int8's steps in its way

The last two take time. They are left out where the caller finds that int8 is slower than fp32 on the board anyway.

No check image and no label takes part. Whether the graph is used is not decided here: it is one more candidate, and
ships only if the device finds it faster and no worse than fp32 (verdict/against_fp32.py).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
from onnxruntime.quantization import TensorsData

from .calibrate import METHODS, Photos, ranges
from .int8_facts import Int8Facts
from .quantise import Dialect, layers, quantisable, quantised, save, weights_of
from .reload import reload

log = logging.getLogger(__name__)

ENOUGH = 0.99  # share of photos on which int8 has to choose what fp32 chooses; below, something is tried about it
LEAST = 0.90  # below, it is left out: no interval of a device could say that nothing was lost
ONE_BY_ONE = 32  # photos on which the cost of each layer is measured
MOST_FLOATING = 0.5  # of the layers: beyond, little of int8 is left


@dataclass(frozen=True)
class Likeness:
    """How like fp32 a graph answers: share of photos with the same class, and the embeddings' mean cosine."""

    agreement: float
    cosine: float

    @property
    def enough(self) -> bool:
        return self.agreement >= ENOUGH


@dataclass(frozen=True)
class Int8Graph:
    """The graph, and how it came to be."""

    model: onnx.ModelProto
    facts: Int8Facts
    likeness: Likeness


@dataclass(frozen=True)
class FineTuned:
    """The fp32 graph of a student that learned with int8's steps in its way, and in words what that took."""

    graph: Path
    words: str


FineTune = Callable[[], FineTuned]
Worth = Callable[[Path, Path], bool]
"""Of an int8 graph and its fp32 graph: whether the first may be of use, were it only accurate."""


def make_int8(
    fp32: Path, photos: Photos, dialect: Dialect, fine_tune: FineTune | None = None, worth: Worth | None = None
) -> Int8Graph:
    """The best int8 graph that was found for the fp32 graph at `fp32`; compared with fp32 on the judging photos.

    worth and fine_tune are called only where calibration alone, and then float layers, do not bring int8 close enough.
    """
    search = _Search(fp32, photos, dialect)
    best = search.best()
    if not best.likeness.enough and worth is not None:
        with tempfile.TemporaryDirectory(dir=fp32.parent) as scratch:
            path = Path(scratch) / "int8.onnx"
            save(best.model, path)
            if not worth(path, fp32):
                return best
    if not best.likeness.enough:
        best = max(best, search.with_float_layers(best), key=_closeness)
    if not best.likeness.enough and fine_tune is not None:
        tuned = fine_tune()
        again = _Search(tuned.graph, photos, dialect, search.answers).best()
        again = replace(again, facts=replace(again.facts, fine_tuned=tuned.words))
        log.info("int8 chooses fp32's class on %.3f of the photos after fine-tuning", again.likeness.agreement)
        best = max(best, again, key=_closeness)
    return best


def flaw_of(graph: Int8Graph) -> str | None:
    """Why this graph is not worth measuring, or None."""
    if not graph.likeness.agreement >= LEAST:  # NaN is not
        lost = round((1 - graph.likeness.agreement) * graph.facts.judged)
        return f"it chooses another class than fp32 on {lost} of {graph.facts.judged} photos of the pool"
    return None


def _closeness(graph: Int8Graph) -> tuple[bool, float, float]:
    """The larger the better. Beyond ENOUGH the share says no more, and what computes less in float is faster."""
    likeness = graph.likeness
    return likeness.enough, 0.0 if likeness.enough else likeness.agreement, likeness.cosine


class _Search:
    """One fp32 graph and what can be made of it. `answers`: of fp32 for the judging photos; None: this graph's own."""

    def __init__(
        self, path: Path, photos: Photos, dialect: Dialect, answers: dict[str, np.ndarray] | None = None
    ) -> None:
        self.path, self.photos, self.dialect = path, photos, dialect
        self.model = onnx.load(path)
        self.answers = answers or reload(path, photos.judging)
        self.layers = layers(self.model, quantisable(self.model, dialect))
        self._ranges: dict[str, TensorsData] = {}

    def best(self) -> Int8Graph:
        """All of the backbone in int8, with the calibration that comes closest."""
        found = {}
        for method in METHODS:
            found[method] = one = self.made(method)
            likeness = one.likeness
            log.info("int8, %s: same class on %.3f, cosine %.4f", method, likeness.agreement, likeness.cosine)
        best = max(found, key=lambda method: (found[method].likeness.cosine, found[method].likeness.agreement))
        tried = {method: one.likeness.agreement for method, one in found.items()}
        return replace(found[best], facts=replace(found[best].facts, tried=tried))

    def with_float_layers(self, whole: Int8Graph) -> Int8Graph:
        """With as few of the costliest layers in float as make it close enough: 1, 2, 4 ... up to half of them. The
        closest of these where none is."""
        method = whole.facts.calibration
        log.info("int8 is too far from fp32: measuring what each of %d layers costs", len(self.layers))
        few = self.photos.judging[:ONE_BY_ONE]
        costs = {}
        for layer in self.layers:
            alone = self._graph(method, [name for name in self.layers if name != layer])
            costs[layer] = self._likeness(alone, few).cosine
        costliest = sorted(self.layers, key=lambda layer: costs[layer])
        tried = [whole]
        count = 1
        while count <= MOST_FLOATING * len(self.layers) and not tried[-1].likeness.enough:
            made = self.made(method, costliest[:count])
            tried.append(replace(made, facts=replace(made.facts, tried=whole.facts.tried)))
            log.info("int8 with %d layers in float: same class on %.3f", count, made.likeness.agreement)
            count *= 2
        return max(tried, key=_closeness)

    def made(self, method: str, floating: Collection[str] = ()) -> Int8Graph:
        model = self._graph(method, floating)
        likeness = self._likeness(model, self.photos.judging)
        facts = Int8Facts(
            dialect=self.dialect.name,
            calibration=method,
            photos=len(self.photos.calibrating),
            seed=self.photos.seed,
            judged=len(self.photos.judging),
            agreement=round(likeness.agreement, 4),
            tried={},
            layers=len(self.layers),
            floating=tuple(weights_of(self.model, floating)),
        )
        return Int8Graph(model, facts, likeness)

    def _graph(self, method: str, floating: Collection[str]) -> onnx.ModelProto:
        if method not in self._ranges:
            images, operators = self.photos.calibrating, self.dialect.operators
            self._ranges[method] = ranges(self.path, images, operators, method, symmetric=self.dialect.symmetric)
        return quantised(self.model, self._ranges[method], self.dialect, floating=floating)

    def _likeness(self, model: onnx.ModelProto, images: np.ndarray) -> Likeness:
        with tempfile.TemporaryDirectory(dir=self.path.parent) as scratch:
            path = Path(scratch) / "int8.onnx"
            save(model, path)
            got = reload(path, images)
        own = {name: values[: len(images)] for name, values in self.answers.items()}
        same = got["probabilities"].argmax(axis=1) == own["probabilities"].argmax(axis=1)
        cosine = (got["embedding"] * own["embedding"]).sum(axis=1)
        finite = np.isfinite(cosine)
        return Likeness(float((same & finite).mean()), float(np.where(finite, cosine, -1.0).mean()))
