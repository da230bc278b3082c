"""The graphs of a build, one a precision: written, run in a fresh process, compared with torch before they ship."""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import torch

from ..errors import EdgeDistillError, InputError
from ..targets import lifeline
from ..targets.error_lines import last_line
from ..targets.golden import OWN_ANSWERS
from ..targets.names import PRECISIONS
from ..work import atomic
from ..work.shortage import explained, memory_is_full
from .graph import OUTPUTS, BakedClassifier, GraphFacts, GraphSpec, check_graph, to_onnx
from .int8 import FineTuned, flaw_of, make_int8
from .int8_facts import Int8Facts

if TYPE_CHECKING:
    from ..classes.class_vectors import ClassVectors
    from ..distil.student import Student
    from .calibrate import Photos
    from .quantise import Dialect

log = logging.getLogger(__name__)

NO_PHOTOS = "there are no photos to calibrate on"
TORCH_MADE = ("fp32", "fp16")  # exported from torch; int8 is made from the fp32 graph
# How far an output may be from torch in float32: what a device is allowed on the golden images, and what is no longer
# the same model. Half moves a probability by about scale / 4 times the cosine's error: 0.04 was seen at CLIP's scale of
# 100, on images between two classes. That alone is no reason to drop fp16: its golden tolerance grows with the drift
# measured here, and the agreement measured on the device decides.
# int8 moves it by more, and is held to fp32 by what it chooses on photos of the pool (int8.py), not by a distance. A
# device is held to the int8 graph's own answers (targets/golden.py), from which another runtime's rounding moves a
# probability; 0.25, half of what lies between sure and even, is chosen, not measured.
TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "int8": 0.25}
LARGEST = {"fp32": 1e-3, "fp16": 1e-1, "int8": 2.0}


@dataclass(frozen=True)
class ExportedModel:
    """One graph that passed every check. `max_abs_diff`: its probabilities against torch in float32, on `images`.

    `int8`: how it was made, where it is one.
    """

    precision: str
    path: Path
    nodes: int
    bytes: int
    seconds: float
    max_abs_diff: float
    images: int
    int8: Int8Facts | None = None

    @property
    def golden_tolerance(self) -> float:
        """What a device's probabilities may differ by from those of the fp32 graph, or from int8's own."""
        if self.precision in OWN_ANSWERS:
            return TOLERANCE[self.precision]
        return max(TOLERANCE[self.precision], 2 * self.max_abs_diff)


@dataclass(frozen=True, kw_only=True)
class Int8:
    """What an int8 graph is made with: the dialect of the board's runtimes, photos of the pool, and, where fine-tuning
    is allowed, what gives a student that learned with int8's steps in its way, and in words what that took. `worth`
    tells whether this int8 graph may be faster on the board than this fp32 graph; None: nobody knows here."""

    dialect: Dialect
    photos: Photos
    fine_tune: Callable[[], tuple[Student, str]] | None = None
    worth: Callable[[Path, Path], bool] | None = None


@dataclass(frozen=True)
class Exports:
    """What a build ships: the graphs, the precisions left out with the reason, and the reference answers.

    `reference`: outputs of the fp32 graph on the given images, from onnxruntime on one CPU thread. `answers`: the same
    of each graph, by precision.
    """

    models: tuple[ExportedModel, ...]
    not_built: dict[str, str] = field(default_factory=dict)
    answers: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    @property
    def reference(self) -> dict[str, np.ndarray]:
        return self.answers.get("fp32", {})


def export_models(
    student: Student,
    class_vectors: ClassVectors,
    folder: Path,
    *,
    facts: GraphFacts,
    images: np.ndarray,
    spec: GraphSpec,
    precisions: Sequence[str] = PRECISIONS,
    int8: Int8 | None = None,
) -> Exports:
    """Write `folder`/<precision>.onnx for each precision asked for, fp32 always, and check every one.

    `images` uint8 [M, size, size, 3]: real images for the comparison with torch. A graph is checked by onnx, by its
    input and output names, types and shapes, and by running it in a fresh process on `images`, an all-black and an
    all-white image. Another precision than fp32 that fails is left out with the reason; so is int8 without `int8`.
    Raises EdgeDistillError if the fp32 graph itself does not hold.
    """
    check_images(images, spec.size)
    if len(class_vectors.names) != len(facts.labels) or len(class_vectors.baked) != len(facts.labels):
        raise EdgeDistillError(
            f"{len(class_vectors.baked)} class vectors for {len(facts.labels)} labels",
            "Export with the class vectors made from these labels.",
        )
    wanted = ["fp32", *(name for name in precisions if name != "fp32")]
    not_built: dict[str, str] = {}
    folder.mkdir(parents=True, exist_ok=True)
    baked = {name: _bake(student, class_vectors, spec, name) for name in wanted if name in TORCH_MADE}
    written = [_write(module, folder / f"{name}.onnx", facts, spec) for name, module in baked.items()]
    extremes = np.stack([np.zeros_like(images[0]), np.full_like(images[0], 255)])
    probes = np.concatenate([images, extremes])
    expected = run_torch(baked["fp32"], probes)
    models: list[ExportedModel] = []
    answers: dict[str, dict[str, np.ndarray]] = {}

    def check(graphs: Sequence[_Written]) -> None:
        outputs = reload_all([graph.path for graph in graphs], probes)
        for graph, got in zip(graphs, outputs):
            flaw = flaw_in(got, expected, LARGEST[graph.precision], compared=len(images))
            if flaw is None:
                models.append(graph.checked(got, expected, compared=len(images)))
                answers[graph.precision] = {name: values[: len(images)] for name, values in got.items()}
            else:
                _leave_out(graph, flaw)
                not_built[graph.precision] = flaw

    check(written)
    if "int8" in wanted:  # made from the fp32 graph, which has to hold first
        made = NO_PHOTOS if int8 is None else _write_int8(int8, folder, class_vectors, facts, spec)
        if isinstance(made, str):
            not_built["int8"] = made
        else:
            check([made])
    return Exports(tuple(models), not_built, answers)


def _write_int8(
    int8: Int8, folder: Path, class_vectors: ClassVectors, facts: GraphFacts, spec: GraphSpec
) -> _Written | str:
    """int8.onnx beside the fp32 graph in `folder`, or why there is none."""
    began = time.perf_counter()

    def fine_tuned() -> FineTuned:
        assert int8.fine_tune is not None
        student, words = int8.fine_tune()
        _write(_bake(student, class_vectors, spec, "fp32"), Path(scratch) / "fp32.onnx", facts, spec)
        return FineTuned(Path(scratch) / "fp32.onnx", words)

    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        fine_tune = None if int8.fine_tune is None else fine_tuned
        made = make_int8(folder / "fp32.onnx", int8.photos, int8.dialect, fine_tune, int8.worth)
    flaw = flaw_of(made)
    if flaw is not None:
        log.warning("int8.onnx is left out: %s", flaw)
        return flaw
    check_graph(made.model, spec)
    path = folder / "int8.onnx"
    atomic.write_bytes(path, made.model.SerializeToString(deterministic=True))
    return _Written(path, len(made.model.graph.node), time.perf_counter() - began, made.facts)


@dataclass(frozen=True)
class _Written:
    """One graph on the disk that meets the contract and has not run yet."""

    path: Path
    nodes: int
    seconds: float
    int8: Int8Facts | None = None

    @property
    def precision(self) -> str:
        return self.path.stem

    def checked(self, got: dict[str, np.ndarray], expected: dict[str, np.ndarray], compared: int) -> ExportedModel:
        """The model, with the largest difference of a probability from torch in the first `compared` images."""
        difference = np.abs(got["probabilities"] - expected["probabilities"])[:compared].max()
        return ExportedModel(
            precision=self.precision,
            path=self.path,
            nodes=self.nodes,
            bytes=self.path.stat().st_size,
            seconds=self.seconds,
            max_abs_diff=float(f"{difference:.1e}"),
            images=compared,
            int8=self.int8,
        )


def _bake(student: Student, class_vectors: ClassVectors, spec: GraphSpec, precision: str) -> BakedClassifier:
    half = precision == "fp16"
    return BakedClassifier(student, class_vectors.baked, class_vectors.scale, size=spec.size, half=half)


def _write(module: BakedClassifier, path: Path, facts: GraphFacts, spec: GraphSpec) -> _Written:
    """Export the module to `path`, held to the contract before it is written."""
    began = time.perf_counter()
    model = to_onnx(module, spec)
    onnx.helper.set_model_props(model, facts.as_properties(spec.size))
    check_graph(model, spec)
    atomic.write_bytes(path, model.SerializeToString(deterministic=True))
    return _Written(path, len(model.graph.node), time.perf_counter() - began)


def _leave_out(graph: _Written, flaw: str) -> None:
    """Delete a graph whose answers do not hold. Raises EdgeDistillError for fp32: without it there is no bundle."""
    if graph.precision == "fp32":
        raise EdgeDistillError(
            f"the exported graph is not the trained model: {flaw}",
            "This is a bug in the export: please report it with the student's name and the versions of torch and onnx.",
        )
    graph.path.unlink()
    log.warning("%s is left out: %s", graph.path.name, flaw)


def reload_all(models: Sequence[Path], images: np.ndarray) -> list[dict[str, np.ndarray]]:
    """Run every graph on `images` (uint8 [M, S, S, 3]) in one fresh process; outputs by name, in the same order.

    What that needs on the disk lies beside the first graph for as long.
    """
    folder = models[0].parent
    with tempfile.TemporaryDirectory(dir=folder) as name:
        scratch = Path(name)
        np.save(scratch / "images.npy", images)
        command = [sys.executable, "-m", "edgedistill.export.reload", *map(str, map(Path.resolve, (scratch, *models)))]
        ran = lifeline.run(command, folder=lifeline.AMONG_ITS_OWN, scratch=scratch.resolve())
        if ran.returncode == lifeline.KILLED:
            raise memory_is_full("the process that checks the exported graphs was ended by signal 9")
        if ran.returncode != 0:
            last = last_line(ran.stderr, f"exit code {ran.returncode}")
            if explanation := explained(RuntimeError(last), (folder,)):
                raise explanation
            raise EdgeDistillError(
                f"an exported graph does not load in a fresh process: {last}",
                "This is a bug in the export: please report it with the student's name.",
            )
        outputs = []
        for index in range(len(models)):
            with np.load(scratch / f"{index}.npz", allow_pickle=False) as stored:
                outputs.append(dict(stored))
    return outputs


def run_torch(baked: BakedClassifier, images: np.ndarray) -> dict[str, np.ndarray]:
    """The module's own outputs by name for uint8 images [M, S, S, 3]."""
    with torch.inference_mode():
        parts = [baked(torch.from_numpy(np.array(image[None]))) for image in images]
    return {name: torch.cat(values).numpy() for name, values in zip(OUTPUTS, zip(*parts))}


def flaw_in(got: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float, compared: int) -> str | None:
    """What is wrong with a graph's outputs, or None: all must be finite, the first `compared` close to torch's."""
    for name in OUTPUTS:
        broken = ~np.isfinite(got[name])
        if broken.any():
            return f"{name} is not finite in {int(broken.sum())} of {broken.size} values"
    for name in OUTPUTS:
        difference = float(np.abs(got[name][:compared] - expected[name][:compared]).max())
        if not difference <= tolerance:
            return f"{name} is {difference:.1e} away from torch in float32, more than {tolerance:g}"
    return None


def check_images(images: np.ndarray, size: int) -> None:
    """Raise InputError unless `images` is uint8 [M >= 1, size, size, 3]."""
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1:] != (size, size, 3) or not len(images):
        raise InputError(
            f"check images are {images.dtype} {list(images.shape)}, expected uint8 [1 or more, {size}, {size}, 3]",
            "Make them with targets/preprocess.py's to_pixels at the student's input size.",
        )
