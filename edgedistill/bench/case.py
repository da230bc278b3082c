"""A case: one model under one runtime, with so many threads and items a query. Cases are what is compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import InputError
from ..targets import ort, runtimes, trt
from ..targets.names import CPU, ON_CPU, RUNTIMES, TENSORRT, TORCH_TENSORRT, on_gpu
from ..targets.providers import Settings
from .inputs import Feed, Given, Input
from .model import Model

# onnxruntime's names of element types, as numpy calls them. Left out: strings, and what numpy has no type for.
_DTYPES = {"float": "float32", "double": "float64", "float16": "float16", "bool": "bool"} | {
    name: name for name in ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
}

DEFAULTS = Settings()


@dataclass(frozen=True)
class Case:
    """threads: of a CPU runtime, 0 for the physical cores, None where a trial is to find out how many are worth it;
    None under another. batch: None for the model's own, or 1.

    file: what the runtime opens, and settings how. accuracy: 0..1, where the model's bundle knows it.
    """

    model: str
    file: Path
    runtime: str
    threads: int | None
    batch: int | None
    given: Given
    accuracy: float | None = None
    settings: Settings = DEFAULTS

    @property
    def on_gpu(self) -> bool:
        return on_gpu(self.runtime)

    def to_words(self) -> str:
        """As one word of a command line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_words(cls, words: str) -> Case:
        """The inverse of `to_words`."""
        table = json.loads(words)
        given = table["given"]
        file = None if given["file"] is None else Path(given["file"])
        shapes = {name: tuple(shape) for name, shape in given["shapes"].items()}
        settings = table["settings"]
        cache = None if settings["cache"] is None else Path(settings["cache"])
        own = {
            "file": Path(table["file"]),
            "given": Given(file, shapes),
            "settings": Settings(**settings | {"cache": cache}),
        }
        return cls(**table | own)


class Opened(Protocol):
    """A case whose model is loaded."""

    @property
    def inputs(self) -> tuple[Input, ...]: ...
    def run(self, feed: Feed) -> object: ...
    def describe(self) -> dict[str, Any]: ...
    def close(self) -> None: ...


def cases(
    models: Sequence[Model], asked: Sequence[str], threads: Sequence[int], batches: Sequence[int], given: Given
) -> list[Case]:
    """Every model under every runtime, threads and batch, one model after the other.

    asked: names of runtimes; none: an engine runs under TensorRT, anything else under onnxruntime-cpu. threads: none:
    those of a bundle's profile, else as a trial finds. A runtime that is not the CPU's has one case for all of them.
    Raises InputError for a runtime that is not known, TargetError for
    one that does not work here.
    """
    if unknown := [name for name in asked if name not in RUNTIMES]:
        raise InputError(f"unknown runtime {unknown[0]!r}", f"Known: {', '.join(RUNTIMES)}.")
    if TORCH_TENSORRT in asked:
        raise InputError(
            f"bench opens files, and {TORCH_TENSORRT} builds a bundle's student itself",
            "Measure it with: python run.py verify --runtime torch-tensorrt",
        )
    wanted = {model.name: asked or [TENSORRT if model.is_engine else CPU] for model in models}
    for name in dict.fromkeys(name for names in wanted.values() for name in names):
        if (error := runtimes.problem(name)) is not None:
            raise error
    return [
        Case(
            model=model.name,
            file=model.file_for(runtime).resolve(),
            runtime=runtime,
            threads=count,
            batch=batch,
            given=_given(model, given),
            accuracy=model.accuracy,
            settings=model.settings_for(runtime),
        )
        for model in models
        for runtime in wanted[model.name]
        for count in (threads or (model.threads,) if runtime in ON_CPU else (None,))
        for batch in batches or (None,)
    ]


def _given(model: Model, given: Given) -> Given:
    """What was given, with an absolute path; a bundle's check images where no file was."""
    file = given.file or model.images
    return Given(None if file is None else file.resolve(), given.shapes)


def open_case(case: Case) -> Opened:
    """The case with its model loaded. TargetError, InputError where that cannot be done."""
    if case.runtime == TENSORRT:
        return _Engine(case)
    return _Graph(case)


class _Graph:
    """Any ONNX graph under onnxruntime."""

    def __init__(self, case: Case) -> None:
        self._graph = ort.Graph(case.file, threads=case.threads or 0, provider=case.runtime, settings=case.settings)
        self.inputs = tuple(_input(name, value, case.file) for name, value in self._graph.inputs.items())
        self.describe, self.close = self._graph.describe, self._graph.close

    def run(self, feed: Feed) -> list[np.ndarray]:
        """The arrays of all outputs."""
        return self._graph.run(feed)


class _Engine:
    """One of our engines under TensorRT (targets/trt.py)."""

    def __init__(self, case: Case) -> None:
        self._session = trt.Session(case.file, trt.load_tensorrt(), cuda_graph=case.settings.cuda_graph)
        size, batch = self._session.size, self._session.fixed_batch
        self.inputs = (Input("image", "uint8", (batch, size, size, 3)),)
        self.describe, self.close = self._session.describe, self._session.close

    def run(self, feed: Feed) -> object:
        """Probabilities, embedding and known."""
        return self._session.run(feed["image"])


def _input(name: str, value: Any, path: Path) -> Input:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    if kind not in _DTYPES or not value.type.startswith("tensor("):
        raise InputError(f"{path} takes {name} as {value.type}", "Models that take tensors of numbers can be timed.")
    return Input(name, _DTYPES[kind], tuple(axis if isinstance(axis, int) else None for axis in value.shape))
